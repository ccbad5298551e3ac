from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.methods.wga import WGA


class SatImp(WGA):
    r"""SatImp, ascent weighted by saturation and importance (Yang et al. 2025, arXiv:2505.11953).

    $$L = -\gamma \, \frac{1}{|F|} \sum_{(x, y) \in F} \left[p_\theta(y \mid x)^{\beta}
          \left(1 - p_\theta(y \mid x)\right)^{\beta_2}\right]_{\text{fixed}} \left(-\log p_\theta(y \mid x)\right)
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    `wga` with a second factor, which leaves out what is certain: a token counts most if p is
    beta / (beta + beta_2), and does not count if it is forgotten or known by heart. So a text that a model
    recites with p near 1 hardly moves at first. With beta_2 0 it is `wga`.
    """

    beta: NonNegativeFloat = 5.0
    "beta_1, of saturation; 5 in the paper's experiments"
    beta2: NonNegativeFloat = 1.0
    "of importance; 1 in the paper's experiments"
    forget_weight: PositiveFloat = 1.0
    "gamma; 1 in the authors' code, ten times alpha as in the paper; 0.1 in OpenUnlearning's configuration"
    retain_weight: NonNegativeFloat = 0.1
    """alpha; 0.1 in the authors' code (`coeff` of tmlr-group/SatImp, which weighs the retain set), a tenth of gamma as
    in the paper; 1 in OpenUnlearning's configuration, ten times its gamma"""

    def weights(self, nll: Tensor) -> Tensor:
        return super().weights(nll) * (-torch.expm1(-nll)) ** self.beta2
