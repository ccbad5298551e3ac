from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.runs.method import Method, Needs
from expunge.train.step import Loss, Step


class NPO(Method):
    r"""Negative preference optimisation (Zhang et al. 2024, arXiv:2404.05868, equation 3).

    $$L = -\frac{2}{\beta} \, \frac{1}{|F|} \sum_{(x, y) \in F} \log \sigma\!\left(-\beta \log
          \frac{p_\theta(y \mid x)}{p_{\mathrm{ref}}(y \mid x)}\right)
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    A gradient ascent that slows down on examples already forgotten: its gradient is the ascent's times
    $2 p_\theta^\beta / (p_\theta^\beta + p_{\mathrm{ref}}^\beta)$ for each example, and equal to the ascent's as beta
    goes to 0. The reference is the model itself before unlearning; its likelihoods are computed once. The KL divergence
    of `retain_target: base` is averaged over labelled tokens; in TOFU's code and OpenUnlearning over prompts and
    padding, too.
    """

    beta: PositiveFloat = 0.1
    "inverse temperature; 0.1 in the paper"
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 in the paper's NPO+RT"
    retain_target: Literal["text", "base"] = "text"
    "labels of R: its own text (NPO+RT), or the base model's outputs (NPO+KL, up to a constant)"

    needs: ClassVar[Needs] = Needs(retain="weighted")
    signals = ("reference_nll",)

    def loss(self, step: Step) -> Loss:
        return self.with_retain(step, self.forget_loss(step))

    def forget_loss(self, step: Step) -> Tensor:
        """The first term, a scalar."""
        log_ratio = step.reference_nll(step.forget) - step.example_nll(step.forget)
        return -2 / self.beta * step.mean(step.forget, F.logsigmoid(-self.beta * log_ratio))
