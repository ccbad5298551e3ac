from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.methods.rmu import RMU
from expunge.runs.method import Wanted
from expunge.train.step import Step


class AdaptiveRMU(RMU):
    r"""Adaptive RMU: steers by a multiple of the original's length (Dang et al. 2025, arXiv:2408.06223, section 5).

    $$L = \frac{1}{d\,|F|} \sum_{t \in F}
          \left\lVert h_\theta(t) - \beta \lVert h_{\mathrm{ref}}(t) \rVert_2 \, u \right\rVert_2^2
          + \alpha \, \frac{1}{d\,|R|} \sum_{t \in R} \left\lVert h_\theta(t) - h_{\mathrm{ref}}(t) \right\rVert_2^2$$

    RMU with a length for each token instead of one number for all: `steering` is beta, in lengths of the original
    model's own hidden states. Hidden states grow from layer to layer, so one c serves one layer; beta serves any. The
    lengths are computed once, before training. With `length: mean` all tokens get the mean length of the forget set,
    which is what the authors' code does, but for one thing: it takes the mean over the first batch (4 texts by
    default), padding included, and keeps it for the other 149.
    """

    steering: PositiveFloat = 5.0
    "beta; 5 in the authors' code"
    length: Literal["token", "mean"] = "token"
    "the original's length at each token, as in the paper, or its mean over the forget set"
    retain_weight: NonNegativeFloat = 1200.0
    "alpha; 1200 in the authors' code"

    def wants(self) -> Sequence[Wanted]:
        return [*super().wants(), ("hidden_lengths", {"layer": self.layer, "mean": self.length == "mean"})]

    def target(self, step: Step, hidden: Tensor) -> Tensor:
        lengths: Tensor = step.signal("hidden_lengths").to(hidden)
        return self.steering * lengths[:, None] * self.direction(hidden.shape[1]).to(hidden)
