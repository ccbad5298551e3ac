"""Save a sharded model: its tensors are gathered one after the other, and no process ever holds them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from expunge.core import storage
from expunge.core.processes import agreed, is_first
from expunge.kinds.language import saving
from expunge.kinds.language.lora import ADAPTER, adapted
from expunge.models.language_kind import language_kind
from expunge.models.parts import part_files, shard_names, tensors_of
from expunge.models.source import LoadedModel
from expunge.train.shards import whole

FILE_BYTES = 5 << 30
"bytes of a file of weights, at most: the first process buffers this much"


def final_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield each weight with its saved name, float32, adapters merged; all processes iterate together.

    Only the first process gets the full tensors; the others get tensors without values.
    """
    wrapped = adapted(model)
    by_weight = {f"{name}.base_layer.{getattr(m, 'parameter_name', 'weight')}": m for name, m in wrapped.items()}
    with torch.no_grad():
        for name, value in tensors_of(model).items():
            if wrapped and f".{ADAPTER}." in name:
                continue
            found = whole(value.detach())
            if not is_first():
                found = torch.empty_like(found, device="meta")
            elif name in by_weight:
                found = found.float() + by_weight[name].get_delta_weight(ADAPTER)
            yield name.replace(".base_layer", ""), found.float() if found.is_floating_point() else found


def lost_of_parts(loaded: LoadedModel, dtype: torch.dtype) -> float:
    """`saving.lost_by_rounding` for a sharded model; on all processes. The base is read again."""
    source = loaded.source
    files = part_files(source, language_kind(source.folder, source.name))
    assert files is not None
    trained = dict(loaded.model.named_parameters())
    known = {name.replace(".base_layer", "") for name in trained}

    def before(name: str) -> Tensor | None:
        with safe_open(files.files[name], framework="pt") as opened:
            found: Tensor = opened.get_tensor(name)
        return found.to(loaded.stored_dtype)

    weights = ((name, value) for name, value in final_weights(loaded.model) if name in known)
    if is_first():
        lost = saving.lost_share(weights, before, dtype)
    else:
        lost = 0.0
        for _ in weights:
            pass
    found: float = agreed(lost)
    return found


def save_parts(loaded: LoadedModel, folder: Path, dtype: torch.dtype) -> None:
    """`saving.save_model` for a sharded model; all processes call it, and the first one writes."""
    if is_first():
        saving.save_with(loaded, folder, dtype, lambda aside, model: _write(model, aside, dtype))
    else:
        for _ in final_weights(loaded.model):
            pass


def _write(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    model.config.architectures = [type(model).__name__]
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    sizes: dict[str, int] = {}
    for name, value in tensors_of(model).items():
        if f".{ADAPTER}." not in name:
            kept = dtype if value.is_floating_point() else value.dtype
            sizes[name.replace(".base_layer", "")] = value.numel() * kept.itemsize
    shards = shard_names(sizes, FILE_BYTES)
    index: dict[str, str] = {}
    waiting: dict[str, Tensor] = {}
    for name, value in final_weights(model):
        waiting[name] = value.to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()
        if name == shards[len(set(index.values()))][-1]:
            number = len(set(index.values())) + 1
            file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            save_file(waiting, folder / file, metadata={"format": "pt"})
            index |= dict.fromkeys(waiting, file)
            waiting = {}
    if len(shards) > 1:
        content: dict[str, Any] = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": index}
        storage.write_json(folder / "model.safetensors.index.json", content)
