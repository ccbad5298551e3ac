"""AdamW for weights stored in bfloat16: computed in float32, piece by piece, and rounded stochastically.

Rounding to nearest in bfloat16 loses an update of less than half of the weight's last place, however often it is
made: for a weight of 0.02 that is 6e-5, and a step of unlearning moves it by 1e-5. Rounded stochastically it is right
on average (Zamirai et al. 2020, arXiv:2010.06192; torchao's optimizers do so under `bf16_stochastic_round`). The
moments are not rounded: in bfloat16 a second moment that keeps 0.999 of itself would not move.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.order import random_seed
from expunge.ops.quantised import require_bitsandbytes
from expunge.ops.stochastic_rounding import round_stochastically

EPS = 1e-8
"as in torch's AdamW"
PIECE, PIECE_ON_ACCELERATOR = 1 << 18, 1 << 22
"numbers in float32 at once: on a CPU as many as its caches hold; multiples of a block of bitsandbytes"
SCRATCH = 17
"temporary bytes for each of them: a float32, and the random and rounded numbers (2 + 4 + 2 + 4 + 1)"


class Draws:
    """The random numbers of a parameter's rounding: functions of seed, name and step, the same on every process."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def of(self, name: str, step: int, device: torch.device) -> torch.Generator:
        return torch.Generator(device).manual_seed(random_seed(self.seed, "rounding", name, step))


def pieces(parameter: Tensor) -> Iterator[slice]:
    """The slices of a flattened parameter that are converted to float32 at once."""
    size = PIECE if parameter.device.type == "cpu" else PIECE_ON_ACCELERATOR
    return (slice(start, start + size) for start in range(0, parameter.numel(), size))


class RoundedAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2) with float32 moments.

    Weights are bfloat16 and rounded stochastically, or float32 and not rounded.

    Args:
        named: parameters with their names.
        seed: seed of the draws.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(list(named), {"lr": lr, "betas": betas, "weight_decay": weight_decay})
        self.draws = Draws(seed)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for name, parameter in zip(group["param_names"], group["params"], strict=True):
                if parameter.grad is not None:
                    self._update(group, name, parameter, parameter.grad)

    def _update(self, group: dict[str, Any], name: str, parameter: nn.Parameter, gradient: Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = torch.zeros_like(parameter, dtype=torch.float32, memory_format=torch.contiguous_format)
        state["step"] += 1
        step, (keep, keep_squares), narrow = state["step"], group["betas"], parameter.dtype == torch.bfloat16
        generator = self.draws.of(name, step, parameter.device)
        held, change = parameter.data.view(-1), gradient.reshape(-1)
        first, second = state["exp_avg"].view(-1), state["exp_avg_sq"].view(-1)
        for piece in pieces(parameter):
            weight = held[piece].float() if narrow else held[piece]
            grad, mean, square = change[piece].float(), first[piece], second[piece]
            mean.lerp_(grad, 1 - keep)
            square.mul_(keep_squares).addcmul_(grad, grad, value=1 - keep_squares)
            scale = square.sqrt().div_(math.sqrt(1 - keep_squares**step)).add_(EPS)
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.addcdiv_(mean, scale, value=-group["lr"] / (1 - keep**step))
            del grad, scale
            if narrow:  # else it was updated in place
                held[piece] = round_stochastically(weight, generator)


def adamw_in_8_bits(named: Iterable[tuple[str, nn.Parameter]], seed: int, **settings: Any) -> torch.optim.Optimizer:
    """bitsandbytes' AdamW with moments in 8 bits, with stochastic rounding of weights in bfloat16.

    Args:
        settings: those of bitsandbytes' `AdamW8bit`.

    Raises:
        RunError: bitsandbytes is missing.
    """
    require_bitsandbytes()
    from bitsandbytes.optim import AdamW8bit

    class RoundedAdamW8bit(AdamW8bit):
        def __init__(self) -> None:
            super().__init__(list(named), **settings)
            self.draws = Draws(seed)

        @torch.no_grad()
        def update_step(self, group: dict[str, Any], p: nn.Parameter, gindex: int, pindex: int) -> None:
            if p.dtype != torch.bfloat16:
                super().update_step(group, p, gindex, pindex)
                return
            assert p.grad is not None
            state, held, change = self.state[p], p.data.view(-1), p.grad.reshape(-1)
            before = int(state["step"])
            generator = self.draws.of(group["param_names"][pindex], before + 1, p.device)
            for piece in pieces(p):
                part = nn.Parameter(held[piece].float())
                part.grad = change[piece].float()
                self.state[part] = {**state, **_states(state, piece), "step": before}
                super().update_step(group, part, gindex, pindex)
                del self.state[part]
                part.grad = None
                held[piece] = round_stochastically(part.data, generator)
            state["step"] = before + 1

    return RoundedAdamW8bit()


def _states(state: dict[str, Any], piece: slice) -> dict[str, Tensor]:
    """The moments of a piece: views into those of the whole, with their scales if they are in 8 bits."""
    found = {name: state[name].view(-1)[piece] for name in ("state1", "state2")}
    if "absmax1" in state:
        size = 256
        blocks = slice(piece.start // size, -(-piece.stop // size))
        found |= {name: state[name][blocks] for name in ("absmax1", "absmax2")}
    return found
