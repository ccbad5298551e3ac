from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.methods.idk_nll import refusal_loss
from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step


class IdkAP(Method):
    r"""IDK+AP: refusals with answer preservation (Yuan et al. 2024, arXiv:2410.08109).

    $$L = \lambda \, \frac{1}{|F|} \sum_{x \in F} \frac{1}{|y_{\mathrm{idk}}|}
          \left(-\log p_\theta(y_{\mathrm{idk}} \mid x)\right)
          - \frac{\alpha}{\beta} \, \frac{1}{|R|} \sum_{(x, y) \in R} \log \sigma\!\left(\beta \log
          \frac{p_\theta(y \mid x)}{p_\theta(y_{\mathrm{idk}} \mid x)}\right)$$

    The second term keeps the answer to a retain question more likely than its refusal: a model that learns to refuse
    would refuse these too. It needs no reference, and its gradient fades once the answer is much likelier. |F| and
    |R| count questions; blocks of plain text are not trained on, in both sets. One of fifty refusals is drawn for each
    question by the seed, for the whole run. The first mean is over a refusal's tokens, then over questions; in the
    authors' code over all tokens of a batch.
    """

    beta: PositiveFloat = 0.1
    "inverse temperature of answer preservation; 0.1 in the authors' code"
    forget_weight: PositiveFloat = 1.0
    "lambda; 1 in the authors' code"
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 in the authors' code"

    needs: ClassVar[Needs] = Needs(retain="weighted", retain_labels=False, kinds=("causal_lm",))
    signals: ClassVar[tuple[Wanted, ...]] = ("refusals", "retain_refusals")

    def loss(self, step: Step) -> Loss:
        forget = self.forget_weight * refusal_loss(step)
        if not self.draws_retain:
            return Loss(forget=forget)
        return Loss(forget=step.before_next(forget), retain=self.retain_weight * self.preservation(step))

    def preservation(self, step: Step) -> Tensor:
        """The second term without alpha, a scalar."""
        log_ratio = step.example_nll(step.signal("retain_refusals")) - step.example_nll(step.retain)
        return -step.mean(step.retain, F.logsigmoid(self.beta * log_ratio)) / self.beta
