"""Negative preference optimisation of the words that give a text away."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat

from expunge.methods.base import Method, Needs
from expunge.tasks.base import Loss, Step


class TargetedNPO(Method):
    r"""NPO on unwanted words, preservation of the words around them (after Zhou et al. 2025, arXiv:2506.03142).

    $$L = \frac{1}{|F|} \sum_{(x, y) \in F} \left\{\begin{array}{ll}
          -\frac{2}{\beta} \log \sigma\!\left(-\beta \log \frac{p_\theta(y \mid x)}{p_{\mathrm{ref}}(y \mid x)}\right)
          & \text{if } \delta_y \ge m \\
          -\kappa \sum_v p_{\mathrm{ref}}(v \mid x) \log p_\theta(v \mid x) & \text{otherwise} \end{array}\right\}
          + \alpha \, \ell_R$$

    $$\delta_y = \log \frac{(n^F_y + a_y)/(N^F + a - n^F_y - a_y)}{(n^R_y + a_y)/(N^R + a - n^R_y - a_y)}$$

    A token is unwanted where it is much commoner in the forget set than in the retain set: by the log odds ratio with an
    informative Dirichlet prior (n are counts, N their sums, a the prior), of those that are certainly commoner (Monroe,
    Colaresi and Quinn 2008, section 3.5.1). Each is pushed down in its place by NPO, a token for an example; everywhere
    else, in the forget set too, the model is held to what it said before. So the two sets should be alike in all but what
    is to go. The paper finds unwanted words by a language model, and compares logits in place of likelihoods.
    """

    beta: PositiveFloat = 0.5
    "inverse temperature; of a token, whose log ratios are smaller than a text's, for which NPO has 0.1"
    mark: PositiveFloat = 1.0
    "m: log odds from which a token is unwanted; 1 is 2.7 times as common"
    keep_weight: NonNegativeFloat = 0.65
    "kappa, of the other tokens of the forget set"
    retain_weight: NonNegativeFloat = 0.65
    "alpha, of the retain set"
    retain_target: Literal["text", "base"] = "base"
    "what R is labelled with: its own text, or what the base model says there"

    needs: ClassVar[Needs] = Needs(retain="weighted", odds=True, tokens=True, kinds=("causal_lm",))

    def loss(self, step: Step) -> Loss:
        rows = step.rows(step.forget)
        log_p = rows.logits.log_softmax(-1)
        log_ratio = log_p.gather(1, rows.target[:, None])[:, 0] + step.reference_row_nll(step.forget)
        away = -2 / self.beta * F.logsigmoid(-self.beta * log_ratio)
        kept = rows.cross_entropy(log_p)
        unwanted = step.log_odds(step.forget) >= self.mark
        forget = step.row_mean(step.forget, torch.where(unwanted, away, self.keep_weight * kept))
        if not self.draws_retain:
            return Loss(forget=forget)
        return Loss(forget=forget, retain=self.retain_weight * step.nll(step.retain))
