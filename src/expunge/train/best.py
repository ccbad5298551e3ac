"""The weights of the best step so far, on disk next to the checkpoints: the result of a training with evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from expunge.core.processes import is_first
from expunge.errors import RunError
from expunge.train.checkpoint import load_step, save_checkpoint
from expunge.train.shards import put, whole


class Best:
    """The trained weights of one step. All processes call it together; the first one writes.

    A resumed training repeats the steps after its checkpoint, so the weights noted in the newest checkpoint stay
    until there is a newer one.

    Args:
        folder: used only for this.
        named: the parameters by their saved names.

    Attributes:
        step: the step of the kept weights; None before the first.
    """

    def __init__(self, folder: Path, named: Mapping[str, nn.Parameter]) -> None:
        self.folder, self.named = folder, named
        self.step: int | None = None
        self._needed: list[int] = []

    def save(self, step: int) -> None:
        """Keep the current weights instead of those of another step."""
        if is_first():
            tensors = {name: parameter.detach() for name, parameter in self.named.items()}
            save_checkpoint(self.folder, step, tensors, {}, keep=self._needed)
        else:
            for parameter in self.named.values():
                whole(parameter.detach())
        self.step = step

    def noted(self) -> int | None:
        """The step, for a checkpoint that is about to be written; the previous one may turn out to be the last whole
        one."""
        self._needed = [*self._needed[-1:], *([] if self.step is None else [self.step])]
        return self.step

    def resume(self, step: int | None) -> None:
        """Resume from a checkpoint that `noted` this step."""
        self.step, self._needed = step, [] if step is None else [step]

    def restore(self) -> None:
        """Restore the kept weights.

        Raises:
            RunError: their files are gone, or were changed.
        """
        assert self.step is not None
        saved = load_step(self.folder, self.step)
        if saved is None or saved.tensors.keys() != self.named.keys():
            raise RunError(
                f"the weights of step {self.step}, the best one, in {self.folder} are missing or changed",
                next_step=f"remove {self.folder.parent} and give the same command: it trains again",
            )
        with torch.no_grad():
            for name, parameter in self.named.items():
                put(parameter, saved.tensors[name])
