"""Read weights in parts: a model's modules without values, and the files with its tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from expunge.models.fit import quiet
from expunge.models.language_kind import LanguageKind
from expunge.models.source import TYPES, ModelSource
from expunge.models.weights import check_weights


def empty_model(kind: LanguageKind, folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """A model whose parameters are on the meta device, but whose buffers exist; as `from_pretrained` sets it up."""
    with quiet(), no_init_weights(), init_empty_weights(include_buffers=False):
        model: PreTrainedModel = kind.loader.from_config(kind.config, dtype=dtype)
    model.tie_weights()
    if (folder / "generation_config.json").is_file():
        with quiet(), suppress(OSError, ValueError):
            model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.eval()


@dataclass(frozen=True, slots=True)
class PartFiles:
    """The tensors of a model by name: the file of each, under the model's names and shapes.

    Attributes:
        unread: names in the files that the model does not have.
    """

    files: Mapping[str, Path]
    unread: tuple[str, ...]

    def read(self, wanted: Mapping[str, range | None]) -> Iterator[tuple[str, Tensor]]:
        """These tensors, or rows of them, each in its stored dtype. Nothing else is read from the disk."""
        by_file: dict[Path, list[str]] = {}
        for name in wanted:
            by_file.setdefault(self.files[name], []).append(name)
        for file, names in by_file.items():
            for name in names:
                # Opened for each: pages read through a memory map count as this process's memory.
                with safe_open(file, framework="pt") as opened:
                    rows = wanted[name]
                    found = (
                        opened.get_slice(name)[rows.start : rows.stop] if rows is not None else opened.get_tensor(name)
                    )
                    yield name, found.clone()
                    del found


def part_files(source: ModelSource, kind: LanguageKind) -> PartFiles | None:
    """The files of a model whose weights can be read by part; None if not.

    They cannot if an adapter is merged into them or the model has an assistant, if they are widened, and if
    transformers builds its weights from others: separate experts, for example, or other names.
    """
    if source.widened or kind.narrow is not None:
        return None
    headers = check_weights(source.folder)
    stored = {name: (kind, shape) for header in headers for name, (kind, shape) in header.tensors.items()}
    files = {name: header.file for header in headers for name in header.tensors}
    model = empty_model(kind, source.folder, torch.float32)
    if getattr(model, "_keep_in_fp32_modules", None) or getattr(model, "_keep_in_fp32_modules_strict", None):
        return None
    known: dict[str, Any] = dict(model.state_dict())
    own = tensors_of(model)
    if any(stored.get(name, ("", ()))[1] != tuple(value.shape) for name, value in own.items()):
        return None
    if any(stored[name][0] not in TYPES for name in own):
        return None
    return PartFiles({name: files[name] for name in own}, tuple(sorted(name for name in stored if name not in known)))


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The stored parts of a model, by name: parameters, tied ones once, and buffers that persist."""
    kept = model.state_dict().keys()
    own = {name: value for name, value in model.named_buffers() if name in kept}
    return {**dict(model.named_parameters()), **own}


def shard_names(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names of tensors in files of at most this many bytes, or of one tensor, in order."""
    shards: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if not shards or size > room:
            shards.append([])
            room = most
        shards[-1].append(name)
        room -= size
    return shards


def bytes_of(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Bytes of a tensor."""
    return math.prod(shape) * dtype.itemsize
