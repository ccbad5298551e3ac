"""The parts of the base model's whole distributions over a set: inputs of its output layer, and that layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from expunge.kinds.language.distributions import FrozenHead, Original
from expunge.kinds.language.signals.signal import Signal, Source
from expunge.kinds.language.token_dataset import Lookup


class Distributions(Signal):
    """An `Original`, from which `step.against_original` makes whole distributions at each labelled token.

    For losses that are not linear in the base's predictions; `retain_labels` stores less, and serves cross-entropy
    alone. A model whose logits are not made of an output layer's is a `ModelError`.
    """

    name = "distributions"
    set: ClassVar[Literal["forget", "retain"]] = "retain"
    per = "row"
    stage = "original"
    doing = "recording the base model's prediction of each token"

    def block(self, source: Source, row: int) -> Tensor:
        task = source.base()
        batch = source.table.batch([row]).to(task.device)
        with task.autocast():
            return task.head_inputs(batch)[task.labelled(batch)]

    def make(self, source: Source, path: Path) -> None:
        head = source.base().head.frozen()
        super().make(source, path)
        tensors = {"weight": head.weight} | ({} if head.bias is None else {"bias": head.bias})
        save_file({name: _small(tensor) for name, tensor in tensors.items()}, path / "head.safetensors")

    def lookup(self, source: Source, path: Path) -> Lookup:
        states, tensors = super().lookup(source, path), load_file(path / "head.safetensors")
        head = FrozenHead(**{name: tensor.float() for name, tensor in tensors.items()})

        def found(rows: Sequence[int]) -> Original:
            return Original(states(rows), head)

        return found


class ForgetDistributions(Distributions):
    """The same of the forget set, under the same name: a method asks for one of the two, for this one by the class."""

    set = "forget"


def _small(tensor: Tensor) -> Tensor:
    """In bfloat16 if that loses nothing, as for models saved in it."""
    tensor = tensor.detach().cpu().contiguous()
    narrow = tensor.to(torch.bfloat16)
    return narrow if torch.equal(narrow.to(tensor.dtype), tensor) else tensor
