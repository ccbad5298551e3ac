"""A model with gated adapters as files: `gate.json`, a folder `base`, and a folder for each adapter in peft's format.

There is no `config.json`, so that nobody loads the base alone by accident. Adapters and detectors are safetensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from expunge.core import storage
from expunge.errors import ModelError, first_line
from expunge.models.adapters import WEIGHTS
from expunge.models.assistant import BASE
from expunge.models.detector import Detector, shapes
from expunge.models.digest import GATED
from expunge.models.gate import KIND, Gate, GatedAdapter
from expunge.models.unusable import ADAPTER

DETECTOR = "detector.safetensors"
PREFIX, A, B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
"how peft names the matrices of a layer"
NUMBERS = ("scale", "boundary", "steepness")


def adapter_folder(folder: Path, number: int) -> Path:
    """The folder of an adapter, from 1."""
    return folder / f"adapter-{number}"


def write_gate(folder: Path, gate: Gate) -> None:
    """Write the adapters and `gate.json`, without the base."""
    rows = []
    for number, each in enumerate(gate.every, 1):
        own = adapter_folder(folder, number)
        own.mkdir()
        rank = each.down[0].shape[0]
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": each.scale * rank,
            "target_modules": list(each.places),
            "base_model_name_or_path": None,  # by itself it is not a model
            "inference_mode": True,
        }
        storage.write_json(own / ADAPTER, config)
        tensors = {f"{PREFIX}{name}{end}": one for name, both in each.matrices.items()
                   for end, one in zip((A, B), both, strict=True)}  # fmt: skip
        _save(tensors, own / WEIGHTS)
        _save(each.detector.tensors, own / DETECTOR)
        detector = {"boundary": each.detector.boundary, "steepness": each.detector.steepness}
        rows.append({"scale": each.scale, **detector})
    storage.write_json(
        folder / GATED, {"kind": KIND, "layers": gate.layers, "base_checksum": gate.base, "adapters": rows}
    )


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: each.detach().cpu().contiguous() for name, each in tensors.items()}, path, {"format": "pt"})


def check_gate(folder: Path) -> None:
    """Raise `ModelError` if a folder lacks parts, as far as that shows before tensors are read."""
    parts = [folder / BASE]
    for number in range(1, len(_described(folder)["adapters"]) + 1):
        parts += [adapter_folder(folder, number) / name for name in (WEIGHTS, DETECTOR)]
    if missing := [part for part in parts if not part.exists()]:
        raise ModelError(
            f"{folder} lacks a part",
            seen=f"no {missing[0].relative_to(folder)}",
            next_step="copy the whole folder again from its origin",
        )


def read_gate(folder: Path) -> Gate:
    """The adapters in a folder, in main memory.

    Raises:
        ModelError: the files are incomplete, or do not match. StorageError: they may not be read.
    """
    check_gate(folder)
    described = _described(folder)
    adapters = [_adapter(adapter_folder(folder, number), row) for number, row in enumerate(described["adapters"], 1)]
    return Gate(adapters, described["layers"], described["base_checksum"])


def _described(folder: Path) -> dict[str, Any]:
    """The checked content of `gate.json`."""
    file = folder / GATED
    content = storage.read_json_or_none(file)
    if isinstance(content, dict) and content.get("kind") == KIND:
        rows = content.get("adapters")
        texts = all(isinstance(content.get(name), str) for name in ("layers", "base_checksum"))
        if texts and isinstance(rows, list) and rows and all(_fits(row) for row in rows):
            return content
    raise ModelError(
        f"{file} does not say how the adapters are used",
        seen=str(content)[:200],
        allowed=f'{{"kind": "{KIND}", "layers": ..., "base_checksum": ..., "adapters": [{{"scale": ..., "boundary": ..., '
        '"steepness": a number above 0}, ...]}',
        next_step="copy the folder again from its origin",
    )


def _fits(row: Any) -> bool:
    """Whether a row of `gate.json` holds the numbers of an adapter."""
    if not isinstance(row, dict):
        return False
    numbers = [row.get(name) for name in NUMBERS]
    if not all(
        isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each) for each in numbers
    ):
        return False
    return bool(row["scale"] > 0 and row["steepness"] > 0)


def _adapter(folder: Path, row: Mapping[str, float]) -> GatedAdapter:
    matrices, statistics = (_load(folder / name) for name in (WEIGHTS, DETECTOR))
    places = [name[len(PREFIX) : -len(A)] for name in matrices if name.startswith(PREFIX) and name.endswith(A)]
    pairs = {place: (matrices[f"{PREFIX}{place}{A}"], matrices.get(f"{PREFIX}{place}{B}")) for place in places}
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for place, (a, b) in pairs.items():
        if b is None or a.dim() != 2 or b.dim() != 2 or a.shape[0] != b.shape[1]:
            raise _broken(folder / WEIGHTS, f"{place}: A {tuple(a.shape)}, B {None if b is None else tuple(b.shape)}")
        found[place] = a, b
    if not found or len(matrices) != 2 * len(found):
        raise _broken(folder / WEIGHTS, f"{len(matrices)} tensors, {len(found)} pairs of A and B")
    wanted = shapes(statistics)
    if "mean" not in wanted or {name: tuple(each.shape) for name, each in statistics.items()} != wanted:
        raise _broken(folder / DETECTOR, ", ".join(f"{name} {tuple(each.shape)}" for name, each in statistics.items()))
    return GatedAdapter(found, row["scale"], Detector(statistics, row["boundary"], row["steepness"]))


def _load(path: Path) -> dict[str, Tensor]:
    try:
        with storage.reading(path):
            found = {name: each.float() for name, each in load_file(path).items()}
    except SafetensorError as error:
        raise _broken(path, first_line(error)) from error
    if bad := [name for name, each in found.items() if not bool(torch.isfinite(each).all())]:
        raise _broken(path, f"NaN or infinity in {bad[0]}")
    return found


def _broken(path: Path, seen: str) -> ModelError:
    return ModelError(
        f"{path} does not have the parts of an adapter of this kind",
        seen=seen[:300],
        next_step="copy the whole folder again from its origin",
    )
