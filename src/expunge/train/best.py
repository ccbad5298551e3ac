"""The weights of the best step so far, on disk beside the checkpoints: what a training that chooses ends with."""

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
    """What is trained, as it was at one step. All processes call it together; the first one writes.

    A resumed training repeats the steps behind its checkpoint, so the weights that the newest checkpoint speaks of stay
    until there is a newer one.

    Args:
        folder: for nothing else.
        named: the parameters by the names that they are saved under.

    Attributes:
        step: whose weights are kept; None before the first.
    """

    def __init__(self, folder: Path, named: Mapping[str, nn.Parameter]) -> None:
        self.folder, self.named = folder, named
        self.step: int | None = None
        self._needed: list[int] = []

    def save(self, step: int) -> None:
        """Keep the weights as they are now, instead of those of another step."""
        if is_first():
            tensors = {name: parameter.detach() for name, parameter in self.named.items()}
            save_checkpoint(self.folder, step, tensors, {}, keep=self._needed)
        else:
            for parameter in self.named.values():
                whole(parameter.detach())
        self.step = step

    def noted(self) -> int | None:
        """The step, for a checkpoint that is about to be written; the one before it may turn out to be the last whole one."""
        self._needed = [*self._needed[-1:], *([] if self.step is None else [self.step])]
        return self.step

    def resume(self, step: int | None) -> None:
        """Go on from a checkpoint that `noted` this step."""
        self.step, self._needed = step, [] if step is None else [step]

    def restore(self) -> None:
        """Put the kept weights back.

        Raises:
            RunError: their files are gone, or are not what was written.
        """
        assert self.step is not None
        saved = load_step(self.folder, self.step)
        if saved is None or saved.tensors.keys() != self.named.keys():
            raise RunError(
                f"the weights of step {self.step}, the best one, are not in {self.folder} as they were written",
                next_step=f"remove {self.folder.parent} and give the same command: it trains again",
            )
        with torch.no_grad():
            for name, parameter in self.named.items():
                put(parameter, saved.tensors[name])
