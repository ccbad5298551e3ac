"""RULI: the per-sample attack on unlearning with kernel densities, for privacy and for efficacy.

Source: Naderloui et al. 2025 (arXiv:2506.13009, USENIX Security). For every example the logit-scaled confidences of
shadow models in each role are smoothed by a Gaussian kernel of bandwidth 1; an observed confidence has the score
p_unlearned / (p_unlearned + p_out).

- Privacy: can one tell an unlearned example from one that the model never saw?
- Efficacy: can one tell the unlearned model from one retrained without the example?

The authors evaluate on examples that are most memorised, mixed with protected ones: on a random forget set the attack
shows less than it can.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from expunge.errors import DataError
from expunge.measures.privacy.confidence import graded_confidences
from expunge.measures.privacy.per_example import PerExampleAttack, summarise

BANDWIDTH = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruli:
    """`privacy`: unlearned against never seen. `efficacy`: unlearned against retrained, None without retrained models.

    AUC 0.5 is best in both.
    """

    privacy: PerExampleAttack
    efficacy: PerExampleAttack | None


def ruli(
    unlearned: ArrayLike,
    out: ArrayLike,
    retrained: ArrayLike | None = None,
    bandwidth: float = BANDWIDTH,
    seed: int = 0,
) -> Ruli:
    """Attacks every model with densities that were made without it, and without the other group's of the same number,
    so that with as many models of each kind no difference looks like none.

    Args:
        unlearned: (examples, N) logit-scaled confidences under shadow models that unlearned the example; N at least 2.
        out: (examples, M) under models that unlearned other examples and never saw this one; M at least 2.
        retrained: (examples, K) under models retrained without the example.
        bandwidth: standard deviation of the kernel, in units of confidence.
    """
    u, o = graded_confidences(unlearned, "unlearned models"), graded_confidences(out, "held-out models")
    privacy = _attack(u, o, bandwidth, seed)
    efficacy = None
    if retrained is not None:
        efficacy = _attack(u, graded_confidences(retrained, "retrained models"), bandwidth, seed)
    return Ruli(privacy=privacy, efficacy=efficacy)


def _attack(u: np.ndarray, other: np.ndarray, bandwidth: float, seed: int) -> PerExampleAttack:
    _same_examples(u, other)
    of_u = _log_density(u, u, bandwidth, leave_out=True) - _log_density(u, other, bandwidth, leave_out=True)
    of_other = _log_density(other, u, bandwidth, leave_out=True) - _log_density(other, other, bandwidth, leave_out=True)
    return summarise(of_u, of_other, 0.0, seed)  # the score rises with these log-odds; ranks and guesses are the same


def _same_examples(*groups: np.ndarray) -> None:
    if len({len(group) for group in groups}) > 1:
        raise DataError("All groups need the same examples", seen=[len(group) for group in groups])


def _log_density(at: np.ndarray, values: np.ndarray, bandwidth: float, leave_out: bool = False) -> np.ndarray:
    """Log kernel density (examples, K) at points (examples, K) of values (examples, N), up to a constant.

    With `leave_out`, the density at point k is that without value k (modulo N): itself, or its partner's.
    """
    exponent = -0.5 * ((at[:, :, None] - values[:, None, :]) / bandwidth) ** 2
    used = values.shape[1]
    if leave_out:
        points = np.arange(at.shape[1])
        exponent[:, points, points % used] = -np.inf
        used -= 1
    return np.asarray(np.logaddexp.reduce(exponent, axis=2) - np.log(used))
