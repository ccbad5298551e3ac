"""Running statistics of batch normalisation, if several processes each see some of the batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Running:
    """The running statistics of a model that several processes train, each with a copy.

    Each process updates its own with its own batches. Afterwards all have the statistics of one process that went
    through the batches of the first, then of the second, and so on: a forward pass moves a statistic s to (1 - m) s + m
    b, so the effect of a process's passes is known for any initial s.

    Args:
        model: the same on all processes, its statistics too.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = (module for module in model.modules() if isinstance(module, _BatchNorm))
        self._layers = [layer for layer in layers if layer.running_mean is not None]
        self._begun: list[Tensor] = []

    @torch.no_grad()
    def begin(self) -> None:
        """Before this process runs its batch."""
        trains = any(layer.training for layer in self._layers)
        self._begun = [_state(layer) for layer in self._layers] if trains else []

    @torch.no_grad()
    def end(self) -> None:
        """After its gradients are computed, which depend on the current statistics; all processes have to call this."""
        if not self._begun:
            return
        own = torch.cat([_state(layer) for layer in self._layers])
        every = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(every, own)
        sizes = [len(state) for state in self._begun]
        for layer, before, *after in zip(
            self._layers, self._begun, *(each.split(sizes) for each in every), strict=True
        ):
            _put(layer, before, after)


def _state(layer: _BatchNorm) -> Tensor:
    """(1 + 2 features,) float64: passes so far, mean and variance."""
    parts = [getattr(layer, name).double().flatten() for name in ("num_batches_tracked", "running_mean", "running_var")]
    return torch.cat(parts)


def _put(layer: _BatchNorm, before: Tensor, after: Sequence[Tensor]) -> None:
    """Set a layer's statistics to the result of all processes' passes, one after the other.

    Args:
        before, after: its state with which all began, and that with which each process ended.
    """
    first, began = int(before[0]), before[1:]
    passes, now = first, began
    for each in after:
        ended, theirs = int(each[0]), each[1:]
        made = ended - first
        passes += made
        if layer.momentum is None:  # the mean over all passes
            now = ((passes - made) * now + ended * theirs - first * began) / max(1, passes)
        else:
            kept = (1 - layer.momentum) ** made
            now = kept * now + theirs - kept * began
    for name, value in zip(
        ("num_batches_tracked", "running_mean", "running_var"), (before.new_tensor(passes), *now.chunk(2)), strict=True
    ):
        getattr(layer, name).copy_(value)
