from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step


class DPO(Method):
    r"""Direct preference optimisation on pairs of texts (Rafailov et al. 2023, arXiv:2305.18290, equation 7).

    $$L = -\frac{1}{\beta} \, \frac{1}{|F|} \sum_{(y_w, y_l) \in F} \log \sigma\!\left(\beta \log
          \frac{p_\theta(y_w)}{p_{\mathrm{ref}}(y_w)} - \beta \log \frac{p_\theta(y_l)}{p_{\mathrm{ref}}(y_l)}\right)
          + \alpha \, \ell_R$$

    $$\ell_R = \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    Where a toxic sentence and its neutral rewrite share words, the gradients of both sides nearly cancel: what is
    pushed is what the rewrite changed. The reference is the model itself before unlearning; its likelihoods are
    computed once. The loss is divided by beta, which the paper's is not, so that its gradient at the start does not
    depend on beta; OpenUnlearning multiplies by 2 / beta, which is twice this. With `retain_target: base` the KL
    divergence is averaged over labelled tokens; in OpenUnlearning over prompts and padding, too. It needs pairs: rows
    of the forget set without a wanted text are not trained on.
    """

    beta: PositiveFloat = 0.1
    "how far from the reference a pair is pushed before the gradient fades; 0.1 in the paper"
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 0, which is the paper's loss, leaves the retain set out"
    retain_target: Literal["text", "base"] = "base"
    "labels of R: its own text, or the base model's outputs"

    needs: ClassVar[Needs] = Needs(retain="weighted", kinds=("causal_lm",))
    signals: ClassVar[tuple[Wanted, ...]] = ("reference_nll", "preferred", "preferred_reference_nll")
    wanted: ClassVar[str] = "preferred"
    "signal with the wanted text for each example: one or several"
    factor: ClassVar[float] = 1.0
    "of the forget loss, besides 1 / beta"

    def loss(self, step: Step) -> Loss:
        loss = step.reference_nll(step.forget) - step.example_nll(step.forget)
        before: Tensor = step.signal(f"{self.wanted}_reference_nll")
        gain = before - step.example_nll(step.signal(self.wanted)).reshape(before.shape)
        gain = gain.reshape(len(loss), -1)
        of_examples = F.logsigmoid(self.beta * (gain - loss[:, None])).mean(1)
        forget = -self.factor / self.beta * step.mean(step.forget, of_examples)
        return self.with_retain(step, forget)
