from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from expunge.errors import RecipeError
from expunge.methods.entropy_term import entropy
from expunge.runs.wrapping import WrappingLoss
from expunge.train.step import Loss, Step

if TYPE_CHECKING:
    from torch import Tensor

    from expunge.train.gradients import Gradients

BETAS, TINY = (0.9, 0.999), 1e-8
"of the adversary's AdamW: torch's"


class TAR(WrappingLoss):
    r"""TAR, tamper-attack resistance, around any loss (Tamirisa et al. 2024, arXiv:2408.00761).

    $$g = \lambda \, \frac{1}{K} \sum_{k=1}^{K} \nabla L_T(\theta_k) + \nabla L_R(\theta), \qquad
      \theta_0 = \theta, \quad \theta_k = \mathrm{AdamW}(\theta_{k-1}, \nabla L_F(\theta_{k-1}))$$

    An adversary fine-tunes the model on the forget set for K steps; the forget loss is then taken at its weights, after
    each of them, and its gradient there moves the model itself (to first order: how the adversary's path depends on the
    model is left out, as in the authors' code). $L_F$ is the mean of -log p over the labelled tokens of the forget set,
    $L_T$ minus the entropy of the outputs, or the forget term of any method, and $L_R$ that method's retain term. So
    the method gives the retain term, and with `tamper: method` the forget term.

    In the paper the adversary trains on other batches than those of $L_T$, for 64 steps, three adversaries a step with
    rates drawn of three, some of them on harmless text, on 8 cards; here it is one, on the step's own batch, at one
    rate, and few steps. The paper begins from a model that was unlearned already: run another method before. A step
    runs the forget set 2 K times, and holds the trained weights five more times: use an adapter for large models. What
    is logged as the forget loss is $L_F$ at the weights themselves.
    """

    inner_steps: PositiveInt = 4
    "K; 64 in the paper's runs, 4 by default in the authors' code"
    inner_learning_rate: PositiveFloat = 4e-5
    "of the adversary; drawn of 2e-5, 4e-5 and 1e-4 in the authors' code"
    every: PositiveInt = 1
    """the forget loss is taken each time after this many of its steps, with weight lambda / K each time; 1 in the
    authors' code"""
    tamper: Literal["entropy", "method"] = "entropy"
    "L_T: minus the entropy, as in the paper for hazardous knowledge, or the method's forget term"
    tamper_weight: NonNegativeFloat = 4.0
    "lambda; 4 in the authors' code"

    @model_validator(mode="after")
    def _takes_the_forget_loss(self) -> Self:
        if self.every > self.inner_steps:
            raise RecipeError(
                "tar would never take the forget loss",
                seen=f"every {self.every}, of {self.inner_steps} steps of the adversary",
                allowed=f"every at most {self.inner_steps}",
                next_step=f"--method.every 1; or more steps: --method.inner_steps {self.every}",
            )
        return self

    def make_gradient(self, gradients: Gradients) -> None:
        place, first, second, outer = ([torch.zeros_like(each) for each in gradients.parameters] for _ in range(4))
        for number in range(1, self.inner_steps + 1):
            with gradients.moved(place):
                gradients.add(lambda step: Loss(forget=step.nll(step.forget)), "forget")
            self.fine_tune(place, first, second, gradients.take(), number)
            if number % self.every == 0:
                with gradients.moved(place):
                    self.tampered(gradients)
                for whole, part in zip(outer, gradients.take(), strict=True):
                    whole.add_(part, alpha=self.tamper_weight / self.inner_steps)
        for parameter, gradient in zip(gradients.parameters, outer, strict=True):
            parameter.grad = gradient
        if self.draws_retain:
            self.add_part(gradients, "retain")

    def tampered(self, gradients: Gradients) -> None:
        """Add the gradient of L_T at the current weights."""
        if self.tamper == "method":
            self.add_part(gradients, "forget")
            return

        def sure(step: Step) -> Loss:
            return Loss(forget=-step.row_mean(step.forget, step.row_values(step.forget, entropy)))

        gradients.add(sure, "forget")

    def fine_tune(
        self, place: list[Tensor], first: list[Tensor], second: list[Tensor], gradient: list[Tensor], number: int
    ) -> None:
        """Step `number`, from 1, of the adversary: Adam, all lists in place."""
        for at, g in enumerate(gradient):
            first[at].lerp_(g, 1 - BETAS[0])
            second[at].lerp_(g.square(), 1 - BETAS[1])
            size = (second[at] / (1 - BETAS[1] ** number)).sqrt_().add_(TINY)
            place[at].addcdiv_(first[at], size, value=-self.inner_learning_rate / (1 - BETAS[0] ** number))
