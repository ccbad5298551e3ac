from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.runs.method import Needs
from expunge.runs.wrapping import Wrapping

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork


class UNDO(Wrapping):
    r"""UNDO: unlearn, noise, distil on outputs (Lee et al. 2025, arXiv:2506.06278).

    $$\theta_u = U(\theta_0), \qquad \theta \leftarrow (1 - \alpha) \, \theta_u + \alpha \beta \, \xi$$

    $$\min_\theta \; \frac{1}{n} \sum_{t \in R} \mathrm{KL}\left(p_{\theta_u}(\cdot \mid x_{<t}) \,\|\,
      p_\theta(\cdot \mid x_{<t})\right)$$

    U is any method. What it hides but leaves in the weights is damaged by the noise, and the distillation brings back
    only what the unlearned model still says. $\xi$ is drawn as Xavier's uniform initialisation for each matrix, and is
    0 for vectors (norms and biases shrink with the rest), as in the authors' code; of experts held in one tensor it is
    drawn for each (ours). The distributions are whole, at the n labelled tokens of the retain set. The teacher is a
    copy of the unlearned model, kept in memory and run in every step.

    alpha, beta and the learning rate are those of the authors' code for WMDP, which distils for 3,000 steps of 110
    blocks of 1,024 tokens at a constant rate. Ours are: fewer steps, an end as soon as the distillation has come close,
    and batches, warm-up and the rate's decline from the recipe's `training`. The more the retain set resembles what the
    model was trained on, the more of it comes back: damage that the retain set does not reach stays.
    """

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.25
    "how much the weights shrink; 0.25 for WMDP in the authors' code. 0: no noise and no distillation, as U left it"
    beta: NonNegativeFloat = 0.0
    "size of the noise, of Xavier's; 0 for WMDP in the authors' code, 0.1 in its default"
    learning_rate: PositiveFloat = 2e-5
    "highest learning rate of the distillation; 2e-5 for WMDP in the authors' code"
    steps: PositiveInt = 300
    "optimizer steps of the distillation, at most; 3000 for WMDP in the authors' code"
    recovered: NonNegativeFloat = 0.01
    "end with the first step whose KL divergence is at most this, in nats a token; ours. 0: after all steps"

    needs: ClassVar[Needs] = Needs(retain="always", retain_labels=False, kinds=("causal_lm",))

    def apply(self, work: LanguageWork) -> None:
        if self.alpha == 0:
            work.carry_out(self.carried_out)
            return
        self.unlearn_once(work)
        teacher = work.frozen()
        work.put(self.damaged(work.weights(), work.generator("noise")))
        work.distil(teacher, self.steps, self.learning_rate, self.recovered)

    def damaged(self, weights: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """The weights, shrunk and with noise; drawn in their order, on the CPU."""
        found = {}
        for name, weight in weights.items():
            found[name] = (1 - self.alpha) * weight
            if self.beta > 0 and weight.ndim > 1:
                found[name] += self.alpha * self.beta * xavier(weight, generator).to(weight)
        return found


def xavier(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of a matrix's shape, uniform up to the square root of 6 / (rows + columns); more dimensions: more
    matrices."""
    bound = math.sqrt(6 / sum(weight.shape[-2:]))
    return torch.empty(weight.shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
