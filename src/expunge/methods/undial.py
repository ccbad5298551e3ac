from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.kinds.language.signals.distributions import ForgetDistributions
from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step


class UNDIAL(Method):
    r"""UNDIAL, self-distillation with adjusted logits (Dong et al. 2024, arXiv:2402.10052).

    $$L = \frac{1}{|F|} \sum_{(x, y) \in F} -\sum_v q(v \mid x) \log p_\theta(v \mid x)
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    $$q(v \mid x) \propto p_{\mathrm{ref}}(v \mid x) \, e^{-\beta [v = y]}$$

    The model learns its own output, with the true token's logit lowered by beta. The target is fixed, so the loss has
    a minimum, and needs no retain set. The reference is the model before unlearning, over its
    whole vocabulary, made of stored hidden states and a copy of its head.

    OpenUnlearning's code departs from this: its mean is over all positions, of prompt and padding too, where the label
    -100 stands for the 100th token from the vocabulary's end, whose logit is lowered there. For rows of 64 prompt and
    30 answer tokens, the answer is 32 % of the loss; the rest keeps the prompts as they were, without that one token.
    """

    beta: PositiveFloat = 10.0
    "how far the true token's logit is lowered; 10 of OpenUnlearning's grid of 3, 10 and 30"
    retain_weight: NonNegativeFloat = 0.0
    "alpha; 0 in the paper, which uses no retain set"
    retain_target: Literal["text", "base"] = "text"
    "labels of R: its own text, or the base model's outputs"

    needs: ClassVar[Needs] = Needs(retain="weighted", kinds=("causal_lm",))
    signals: ClassVar[tuple[Wanted, ...]] = (ForgetDistributions(),)

    def loss(self, step: Step) -> Loss:
        forget = step.row_mean(step.forget, step.against_original(step.forget, self.cross_entropy, labels=True))
        return self.with_retain(step, forget)

    def cross_entropy(self, log_p: Tensor, log_ref: Tensor, target: Tensor) -> Tensor:
        """(rows,) cross-entropy of the model against the adjusted reference, both (rows, classes)."""
        lowered = log_ref.scatter_add(1, target[:, None], torch.full_like(log_ref[:, :1], -self.beta))
        return -(lowered.softmax(-1) * log_p).sum(-1)
