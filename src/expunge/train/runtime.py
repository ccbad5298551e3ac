"""How a step of the loop runs on its processes: one today.

Whatever depends on how many processes there are, or how a model is wrapped, is here: which batches are whose, the way into
the model, gradients, figures, seeds, and when all save.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.order import random_seed
from expunge.errors import DivergedError
from expunge.train.phase import Phase

Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]
"(what is minimised, figures to log) of one batch of each stream; all are scalars on the device"


class Runtime:
    """The processes that train one model.

    Attributes:
        rank, world: which process this is, and how many there are.
    """

    rank, world = 0, 1

    def agreed(self, decision: bool) -> bool:
        """What the first process decides: clocks differ, and all have to save together."""
        return decision

    def batches(self, step: int, accumulate: int) -> tuple[range, range]:
        """(numbers of all batches of a step, those of this process)."""
        size = accumulate * self.world
        return range(step * size, (step + 1) * size), range(self.rank, size, self.world)

    def prepare(self, model: nn.Module, named: Mapping[str, nn.Parameter], phase: Phase) -> torch.optim.Optimizer:
        """The optimizer of a phase. A model that has to be wrapped is wrapped first, as optimizers hold parameters."""
        rate, decay, parameters = phase.learning_rate, phase.weight_decay, list(named.items())
        if phase.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=phase.momentum, weight_decay=decay, fused=True)
        kind = torch.optim.Adam if phase.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, lr=rate, betas=phase.betas, weight_decay=decay, fused=True)

    def seed(self, seed: int, stream: str, step: int) -> None:
        """Seed what a step draws on the device, dropout for one."""
        torch.manual_seed(random_seed(seed, stream, step) % (1 << 31))

    def forward(self, model: nn.Module, loss: Loss, batches: Sequence[Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the whole loss inside one call of `model`, however often and through whichever part it calls the model.

        A wrapper that spreads a model over processes acts around the call of its root, and only there.
        """
        own = model.__dict__.get("forward")

        def put_back() -> None:
            if own is None:
                model.__dict__.pop("forward", None)
            else:
                model.forward = own

        def inside(*given: Any) -> tuple[Tensor, dict[str, Tensor]]:
            put_back()
            return loss(*given)

        model.forward = inside
        try:
            found: tuple[Tensor, dict[str, Tensor]] = model(*batches)
        finally:
            put_back()
        return found

    def backward(self, value: Tensor) -> None:
        """Add the gradients of a batch's loss to those of the step."""
        value.backward()

    def reduce(self, parts: Sequence[Mapping[str, Tensor]], whole: Mapping[str, Tensor]) -> dict[str, float]:
        """Figures of a step: `parts` are of a batch each and are added, `whole` are of the step. One transfer in all."""
        named = [(name, value) for part in parts for name, value in part.items()] + list(whole.items())
        found: dict[str, float] = {}
        for (name, _), value in zip(named, torch.stack([v.detach() for _, v in named]).tolist(), strict=True):
            found[name] = found[name] + value if name in found else value
        return found

    def require_finite(self, figures: Mapping[str, float], where: str) -> None:
        """Raise on every process where the loss or its gradient is no number on one.

        Raises:
            DivergedError: it is not.
        """
        watched = {name: figures[name] for name in ("loss", "grad_norm") if name in figures}
        if not all(math.isfinite(value) for value in watched.values()):
            raise DivergedError(
                f"stopped in {where}: the loss is not a number",
                seen=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in watched.items()),
                next_step="lower the method's learning rate (expunge methods NAME lists its settings)",
            )
