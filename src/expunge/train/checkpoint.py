"""Checkpoints of the loop: trained weights, optimizer state, step. Written aside and renamed; no pickle; digests listed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from expunge.core import storage

SHARD_BYTES = 128 << 20
"tensors are written in files of about this size: between two files a signal is heard"


def save_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write `folder/step-N`, then delete older ones. `state` must be JSON."""
    path = folder / f"step-{step:08d}"
    with storage.folder_aside(path) as aside:
        files: dict[str, str] = {}
        shard: dict[str, Tensor] = {}
        size = 0

        def flush() -> None:
            nonlocal shard, size
            if shard:
                name = f"state-{len(files):04d}.safetensors"
                save_file(shard, aside / name)
                files[name] = storage.digest_file(aside / name)
            shard, size = {}, 0

        for name, tensor in tensors.items():
            shard[name] = tensor.detach().cpu().contiguous()
            size += tensor.numel() * tensor.element_size()
            if size >= SHARD_BYTES:
                flush()
        flush()
        storage.write_json(aside / "checkpoint.json", {"step": step, "state": state, "files": files})
    for other in checkpoints(folder):
        if other != path:
            shutil.rmtree(other, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first. A folder without its list of digests is no checkpoint."""
    return sorted(path for path in folder.glob("step-*") if (path / "checkpoint.json").is_file())


def load_latest(folder: Path, at_most: int | None = None) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """(step, tensors, state) of the newest checkpoint whose files are what its list says; None where there is none.

    Args:
        at_most: a step that it may not lie beyond.
    """
    for path in reversed(checkpoints(folder)):
        try:
            listed = storage.read_json(path / "checkpoint.json")
            if at_most is not None and int(listed["step"]) > at_most:
                continue
            if all(storage.digest_file(path / name) == digest for name, digest in listed["files"].items()):
                tensors: dict[str, Tensor] = {}
                for name in listed["files"]:
                    tensors |= load_file(path / name)
                return int(listed["step"]), tensors, listed["state"]
        except (OSError, KeyError, storage.StorageError):
            continue
    return None


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """AdamW's state by parameter name; steps as tensors of one number."""
    tensors = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, parameter in zip(names, parameters, strict=True):
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, names: list[str], tensors: dict[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, parameter in zip(names, parameters, strict=True):
        state = {
            key: tensors[f"optimizer/{key}/{name}"].to(parameter.device)
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimizer/{key}/{name}" in tensors
        }
        if state:
            optimizer.state[parameter] = state
