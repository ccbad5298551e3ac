from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat
from torch import Tensor

from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step


def refusal_loss(step: Step) -> Tensor:
    """Mean negative log-likelihood of a refusal's token, over the refusals of the whole optimizer step; scalar."""
    refusals = step.signal("refusals")
    return step.mean(step.forget, step.example_nll(refusals) / step.example_rows(refusals).clamp(min=1))


class IdkNLL(Method):
    r"""IdkNLL: fine-tuning on refusals, TOFU's preference optimisation baseline (Maini et al. 2024, arXiv:2401.06121).

    $$L = \frac{1}{|F|} \sum_{x \in F} \frac{1}{|y_{\mathrm{idk}}|} \left(-\log p_\theta(y_{\mathrm{idk}} \mid x)\right)
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    The model learns to refuse; the answer itself is not used, so it is covered, not removed. One of fifty
    refusals is drawn for each question by the seed, for the whole run. The first mean is over a refusal's tokens, then
    over questions; in TOFU's code over all tokens of a batch, in which a longer refusal counts for more. It needs
    questions and answers: blocks of plain text are not trained on.
    """

    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 in TOFU"
    retain_target: Literal["text", "base"] = "text"
    "labels of R: its own text, as in TOFU, or the base model's outputs"

    needs: ClassVar[Needs] = Needs(retain="weighted", kinds=("causal_lm",))
    signals: ClassVar[tuple[Wanted, ...]] = ("refusals",)

    def loss(self, step: Step) -> Loss:
        forget = refusal_loss(step)
        return self.with_retain(step, forget)
