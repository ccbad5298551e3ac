"""RULI: the per-sample attack on unlearning with kernel densities, for privacy and for efficacy.

Source: Naderloui et al. 2025 (arXiv:2506.13009, USENIX Security). For every example the logit-scaled confidences of
shadow models in each role are smoothed by a Gaussian kernel of bandwidth 1; an observed confidence has the score
p_unlearned / (p_unlearned + p_out).

- Privacy: can an unlearned example be distinguished from one that the model never saw?
- Efficacy: can the unlearned model be distinguished from one retrained without the example?

The authors evaluate on examples that are most memorised, mixed with protected ones: on a random forget set the attack
shows less than it can.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from expunge.measures.privacy.confidence import graded_pair
from expunge.measures.privacy.per_example import PerExampleAttack, summarise

BANDWIDTH = 1.0
"standard deviation of the kernel, in units of confidence"


def ruli(unlearned: ArrayLike, out: ArrayLike, seed: int = 0) -> PerExampleAttack:
    """Attacks every model with densities that were made without it, and without the other group's of the same number,
    so that with equal numbers of models no difference shows as none. AUC 0.5 is best.

    Args:
        unlearned: (examples, N) logit-scaled confidences under shadow models that unlearned the example; N at least 2.
        out: (examples, M), M at least 2: for privacy under models that unlearned other examples and never saw this one,
            for efficacy under models retrained without it.
    """
    u, o = graded_pair(unlearned, out)
    of_u = _log_density(u, u) - _log_density(u, o)
    of_o = _log_density(o, u) - _log_density(o, o)
    return summarise(of_u, of_o, seed)  # the score rises with these log-odds; ranks and guesses are the same


def _log_density(at: np.ndarray, values: np.ndarray, leave_out: bool = True) -> np.ndarray:
    """Log kernel density (examples, K) at points (examples, K) of values (examples, N), up to a constant.

    With `leave_out`, the density at point k is that without value k (modulo N): itself, or its partner's.
    """
    exponent = -0.5 * ((at[:, :, None] - values[:, None, :]) / BANDWIDTH) ** 2
    used = values.shape[1]
    if leave_out:
        points = np.arange(at.shape[1])
        exponent[:, points, points % used] = -np.inf
        used -= 1
    return np.asarray(np.logaddexp.reduce(exponent, axis=2) - np.log(used))
