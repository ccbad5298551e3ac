from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat

from expunge.methods.npo import NPO
from expunge.train.step import Loss

if TYPE_CHECKING:
    from expunge.train.gradients import Gradients


class NPOSAM(NPO):
    r"""NPO with sharpness-aware minimisation (NPO+SAM; Fan et al. 2025, arXiv:2502.05374).

    $$g = \nabla L_{\mathrm{NPO}}(\theta + \epsilon) + \alpha \, \nabla L_R(\theta), \qquad
      \epsilon = \rho \, \frac{\nabla L_{\mathrm{NPO}}(\theta)}{\lVert \nabla L_{\mathrm{NPO}}(\theta) \rVert_2}$$

    with the two terms of NPO. The forget gradient is taken where the forget loss is about highest within a distance
    rho of the weights, so that small changes of the weights, such as a little training on related text, undo less of
    the forgetting. The norm is over all trained weights together, and the step is that of the whole batch, accumulated
    or not. The logged forget loss is that at the weights themselves. A step runs the forget set twice, and keeps a copy
    of the trained weights and their change meanwhile. Running statistics of a classifier's batch normalisation follow
    the weights, not the moved ones (ours). With an adapter only the adapter's parameters are moved: what rho means then
    depends on how they are scaled.

    In the authors' code for MUSE the NPO term is another loss, on all logits alike; here, as in the paper and in their
    code for WMDP, it is NPO's.
    """

    rho: NonNegativeFloat = 0.01
    "how far the weights are moved; 0.01 in the authors' runs on MUSE, 0.1 on WMDP; 0: plain NPO"

    def make_gradient(self, gradients: Gradients) -> None:
        gradients.add(lambda step: Loss(forget=self.forget_loss(step)), "forget")
        if self.rho > 0:
            ascent = gradients.take()
            scale = self.rho / gradients.norm(ascent).clamp(min=1e-30)
            for each in ascent:
                each.mul_(scale)
            with gradients.moved(ascent):
                gradients.add(lambda step: Loss(forget=self.forget_loss(step)), "forget")
        if self.draws_retain:
            gradients.add(lambda step: Loss(retain=self.retain_weight * step.nll(step.retain)), "retain")
