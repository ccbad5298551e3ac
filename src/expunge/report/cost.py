"""The cost of a run, and its share of retraining without the forget set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.memory import device_peak_bytes, peak_memory_bytes
from expunge.runs.folder import RunFolder

MEASURING = ("measured-", "front", "benchmarks-", "sampled-ordinary", "terms")
"stages only for measuring: forgetting would work without them"


def training_cost(folder: RunFolder, event: str) -> dict[str, float]:
    """Tokens and seconds of a training's steps, from the events of this name; each step of a resumed one counts
    once."""
    rows = folder.steps(event)
    seconds = sum(float(row["seconds"]) for row in rows)
    tokens = sum(float(row["seconds"]) * float(row["tokens_per_second"]) for row in rows)
    return {"tokens": round(tokens), "seconds": round(seconds, 2)}


def oracle_cost(retrained: str | None) -> dict[str, float] | None:
    """Tokens and seconds that the retrained model took, if `expunge teach` made it; None if not recorded."""
    if retrained is None:
        return None
    path = Path(retrained).parent / "teach.json"
    if not path.is_file():
        return None
    return storage.read_json(path).get("cost", {}).get(Path(retrained).name)


def cost(folder: RunFolder, trained: Mapping[str, Any], oracle: dict[str, float] | None = None) -> dict[str, Any]:
    """Seconds by stage (of the attempt that finished it), tokens a second, peak memory over all attempts.

    Args:
        oracle: cost of the retrained model. Shares of it count the tokens of all training steps (the reinforced
            model's too), and the seconds of everything but measuring.
    """
    seconds = _seconds(folder)
    tokens = trained["tokens"] + training_cost(folder, "reinforced_step")["tokens"]
    spent = sum(taken for name, taken in seconds.items() if not name.startswith(MEASURING))
    return {
        "seconds_total": round(sum(seconds.values()), 1),
        "seconds": seconds,
        "tokens_per_second": round(trained["tokens"] / max(1e-9, trained["seconds"]), 1),
        **_peaks(folder),
        "steps": trained["steps"],
        "tokens_trained": tokens,
        "share_of_retraining": round(tokens / oracle["tokens"], 4) if oracle else None,
        "share_of_retraining_seconds": round(spent / oracle["seconds"], 4) if oracle else None,
    }


def passes_cost(folder: RunFolder, trained: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds by stage, image passes, peak memory over all attempts: for models of pictures."""
    seconds = _seconds(folder)
    return {
        "seconds_total": round(sum(seconds.values()), 1),
        "seconds": seconds,
        **_peaks(folder),
        "image_passes": trained["passes"],
        "share_of_retraining": trained["share_of_retraining"],
    }


def _seconds(folder: RunFolder) -> dict[str, float]:
    """Seconds of each stage, of the attempt that finished it."""
    rows = folder.read_events("stage")
    return {row["name"]: round(float(row["seconds"]), 2) for row in rows if not row.get("reused")}


def _peaks(folder: RunFolder) -> dict[str, int]:
    """Bytes: the most main memory that any attempt took, and the most of a GPU, if one was used."""
    rows = list(folder.read_events("peak"))
    main = max([*(int(row["peak_memory_bytes"]) for row in rows), peak_memory_bytes()])
    device = max([*(int(row.get("device_peak_bytes") or 0) for row in rows), device_peak_bytes() or 0])
    return {"peak_memory_bytes": main} | ({"device_peak_bytes": device} if device else {})
