"""The record of a run: what was done with what, what it cost, and the verdict."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from expunge.evidence.verdict import judge
from expunge.measures.score import Score
from expunge.recipe import Recipe
from expunge.run_folder import RunFolder

if TYPE_CHECKING:
    from expunge.engine.loop import Trained

PACKAGES = ("expunge", "torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "numpy", "wordfreq")

NOT_TESTED = [
    "Whether the forgotten can be brought back by training the model again on related text (relearning).",
    "Whether it comes back when the weights are quantised, merged or pruned.",
    "Prompts that are made to extract it: role play, translation, many attempts, hints in the context.",
    "Whether traces can be read from the model's inner states.",
    "Membership inference: whether one can tell that the text was once trained on.",
    "Other languages than that of the target.",
]


def versions() -> dict[str, str]:
    """Versions of what a run's figures depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "processor": _processor()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_memory_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cost(folder: RunFolder, trained: dict[str, Any]) -> dict[str, Any]:
    """Seconds by stage (of the attempt that finished it), tokens a second, peak memory over all attempts."""
    seconds: dict[str, float] = {}
    for row in folder.read_events("stage"):
        if not row.get("reused"):
            seconds[row["name"]] = round(float(row["seconds"]), 2)
    peaks = [int(row["peak_memory_bytes"]) for row in folder.read_events("peak")]
    return {
        "seconds_total": round(sum(seconds.values()), 1),
        "seconds": seconds,
        "tokens_per_second": round(trained["tokens"] / max(1e-9, trained["seconds"]), 1),
        "peak_memory_bytes": max([*peaks, peak_memory_bytes()]),
        "steps": trained["steps"],
        "share_of_retraining": None,
    }


def as_dict(trained: Trained) -> dict[str, Any]:
    return {"steps": trained.steps, "seconds": trained.seconds, "tokens": trained.tokens, "stopped": trained.stopped}


def make_record(
    folder: RunFolder,
    recipe: Recipe,
    scores: Sequence[Score],
    *,
    method: dict[str, Any],
    sets: dict[str, Any],
    digests: dict[str, Any],
    trained: dict[str, Any],
    license_name: str | None,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """The content of `record.json`."""
    not_tested = list(NOT_TESTED)
    if not any(score.measure == "accuracy" for score in scores):
        not_tested.insert(0, "General ability on benchmarks: give --benchmarks FOLDER to `expunge evaluate`.")
    if not any(score.model == "retrained" for score in scores):
        not_tested.insert(0, "Comparison with a model retrained without the forget set: none was given.")
    return {
        "title": recipe.forget,
        "verdict": judge(scores, recipe.verdict),
        "cost": cost(folder, trained),
        "stopped": trained["stopped"],
        "method": method,
        "sets": sets,
        "versions": versions(),
        "digests": digests,
        "license": license_name,
        "not_tested": not_tested,
        "warnings": list(warnings),
    }
