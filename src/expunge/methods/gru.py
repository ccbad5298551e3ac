from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, NonNegativeFloat

from expunge.runs.method import Needs
from expunge.runs.wrapping import WrappingLoss
from expunge.train.step import Loss

if TYPE_CHECKING:
    from torch import Tensor

    from expunge.train.gradients import Gradients


class GRU(WrappingLoss):
    r"""GRU, gradient rectified unlearning, around any loss (Wang et al. 2025, arXiv:2503.09117).

    $$g \leftarrow g_u - \max(\cos(g_u, g_r), \kappa) \, \frac{\lVert g_u \rVert_2}{\lVert g_r \rVert_2} \, g_r
      \quad \text{where } \langle g_u, g_r \rangle < 0, \qquad g \leftarrow g + \lambda \, g_r$$

    $$g_u = \nabla L_U(\theta), \qquad g_r = \nabla \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    $L_U$ is the loss of any method, with its retain term if it has one. If a step along it would raise the loss of
    the retain set, to first order, only that part is removed: with $\kappa$ = -1 the nearest gradient to $g_u$
    that does not. Inner products are those of all trained weights together, of the whole step's batch. With an adapter
    they are over the adapter's parameters: the retain loss is protected along what the adapter can change.

    The authors' code keeps $g_r$ as a moving average, 0.8 of the step's and 0.2 of the previous one; here it is the
    step's own, so that a step depends only on the weights and its batch. $\lambda$ above 0 is its variant "+ce";
    $\kappa$ = -0.5 is an option there. The retain set runs twice if the method has a retain term of its own.
    """

    floor: Annotated[float, Field(ge=-1, le=0)] = -1.0
    """kappa: lowest cosine used for the projection; -1: all of the conflict is removed; -0.5 is an option of the
    authors' code"""
    retain_weight: NonNegativeFloat = 0.0
    "lambda, of the retain set's gradient that is added afterwards; 0 in the paper"

    needs: ClassVar[Needs] = Needs(retain="always", kinds=("causal_lm",))

    @property
    def draws_retain(self) -> bool:
        return True

    def make_gradient(self, gradients: Gradients) -> None:
        gradients.add(self.wrapped.loss, *(("forget", "retain") if self.wrapped.draws_retain else ("forget",)))
        unlearning = gradients.take()
        gradients.add(lambda step: Loss(retain=step.nll(step.retain)), "retain")
        keeping = gradients.take()
        along = self.retain_weight - self.taken_out(gradients, unlearning, keeping)
        for parameter, one, other in zip(gradients.parameters, unlearning, keeping, strict=True):
            parameter.grad = one.add_(other, alpha=along) if along else one

    def taken_out(self, gradients: Gradients, unlearning: list[Tensor], keeping: list[Tensor]) -> float:
        """Coefficient of the retain set's gradient added to the other; at most 0."""
        product = float(gradients.dot(unlearning, keeping))
        if not product < 0:
            return 0.0
        lengths = float(gradients.dot(unlearning, unlearning)), float(gradients.dot(keeping, keeping))
        return max(product / lengths[1], self.floor * (lengths[0] / lengths[1]) ** 0.5)
