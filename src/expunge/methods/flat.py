from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step

LOG_2 = math.log(2)
Divergence = Literal[
    "total_variation", "jensen_shannon", "kl", "reverse_kl", "pearson", "neyman", "squared_hellinger", "jeffrey"
]
GAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "total_variation": lambda v: torch.tanh(v) / 2,
    "jensen_shannon": lambda v: LOG_2 - F.softplus(-v),
    "kl": lambda v: v,
    "reverse_kl": lambda v: -torch.exp(-v),
    "pearson": lambda v: v,
    "neyman": lambda v: -torch.expm1(-v),
    "squared_hellinger": lambda v: -torch.expm1(-v),
    "jeffrey": lambda v: v,
}
"g of each divergence, rising"
COSTS: dict[str, Callable[[Tensor], Tensor]] = {
    "total_variation": lambda v: torch.tanh(v) / 2,
    "jensen_shannon": lambda v: F.softplus(v) - LOG_2,
    "kl": lambda v: torch.exp(v - 1),
    "reverse_kl": lambda v: v - 1,
    "pearson": lambda v: v + v.square() / 4,
    "neyman": lambda v: -2 * torch.expm1(-v / 2),
    "squared_hellinger": torch.expm1,
    "jeffrey": lambda v: v + v.square() / 4 + v**3 / 16,
}
"f*(g) of each divergence, f* being the conjugate of f; for Jeffrey's the series to the third order"


class FLAT(Method):
    r"""FLAT, loss adjustment with forget data alone (Wang et al. 2024, arXiv:2410.11143).

    $$L = \frac{1}{|F|} \sum_{(x, y) \in F} \left[-g\!\left(P_\theta(y_{\mathrm{idk}} \mid x)\right)
          + f^*\!\left(g\!\left(P_\theta(y \mid x)\right)\right)\right], \qquad
          P_\theta(y \mid x) = \frac{1}{|y|} \sum_t p_\theta(y_t \mid x, y_{<t})$$

    An f-divergence between refusals and answers is maximised by its variational bound, with the mean probability of a
    text's tokens as the score: a refusal gains by g, the answer costs f*(g). Both are bounded, so that what is
    forgotten is not pushed further. No retain set and no reference. $g$ and $f^*(g)$ of a score v:

    $$\begin{array}{lll}
      \text{total variation} & \tfrac{1}{2} \tanh v & \tfrac{1}{2} \tanh v \\
      \text{Jensen-Shannon} & \log 2 - \log(1 + e^{-v}) & \log(1 + e^{v}) - \log 2 \\
      \text{KL} & v & e^{v - 1} \\
      \text{reverse KL} & -e^{-v} & v - 1 \\
      \text{Pearson} & v & v + v^2 / 4 \\
      \text{Neyman} & 1 - e^{-v} & 2 - 2 e^{-v/2} \\
      \text{squared Hellinger} & 1 - e^{-v} & e^{v} - 1 \\
      \text{Jeffrey} & v & v + v^2 / 4 + v^3 / 16
      \end{array}$$

    These are the increasing ones of f-GAN (Nowozin et al. 2016, arXiv:1606.00709). In the authors' code v has the other
    sign in g of reverse KL, Neyman and squared Hellinger, which makes refusals less likely: at P = 0.5 the slope of
    reverse KL's first term is +1.65 there and -0.61 here. Its P is the mean over a whole batch, prompts and padding
    counted as 0: for rows of 64 prompt and 30 answer tokens it is 32 % of the value here.

    It needs questions and answers: blocks of plain text are not trained on. One of fifty refusals is drawn for each
    question by the seed, for the whole run.
    """

    divergence: Divergence = "total_variation"
    "f; total variation in the authors' code"

    needs: ClassVar[Needs] = Needs(kinds=("causal_lm",))
    signals: ClassVar[tuple[Wanted, ...]] = ("refusals",)

    def loss(self, step: Step) -> Loss:
        answer = self.score(step, step.forget)
        refusal = self.score(step, step.signal("refusals"))
        return Loss(forget=step.mean(step.forget, COSTS[self.divergence](answer) - GAINS[self.divergence](refusal)))

    def score(self, step: Step, batch: object) -> Tensor:
        """(examples,) P: the mean probability of each example's tokens."""
        return step.example_means(batch, torch.exp(-step.row_nll(batch)))
