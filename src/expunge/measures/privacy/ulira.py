"""U-LiRA: is this a model that has unlearned the example, or one that never saw it?

Source: Hayes et al. 2024 (arXiv:2403.01218), after LiRA (Carlini et al. 2022, arXiv:2112.03570). For every example one
Gaussian is fitted to its logit-scaled confidences under shadow models that were trained with it and unlearned it, and
one to those under models trained without it. A model is guessed to be of the likelier kind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from expunge.measures.privacy.confidence import graded_pair
from expunge.measures.privacy.per_example import PerExampleAttack, summarise

FLOOR = 1e-3
"least standard deviation of a Gaussian, in units of confidence (nats)"


def ulira(unlearned: ArrayLike, held_out: ArrayLike, seed: int = 0) -> PerExampleAttack:
    """Attacks every model with Gaussians that were fitted without it.

    One model of the other group is left out as well, that of the same number. So with N = M both Gaussians come from
    the same number of models, and groups without a difference are distinguished no better and no worse than by chance.

    Args:
        unlearned: (examples, N) logit-scaled confidences where the model was trained with the example and unlearned it;
            N at least 3.
        held_out: (examples, M) where the model never saw it (and unlearned other examples, if the attack is to see the
            method's own effect on all that it unlearns); M at least 3. Rows of both may come from unlike models.

    Raises DataError for booleans or zeros and ones: Gaussians of right and wrong answers are not U-LiRA.
    """
    u, o = graded_pair(unlearned, held_out, 3)
    of_u, of_o = _fit_without_each(u), _fit_without_each(o)
    for_u, for_o = np.arange(u.shape[1]) % o.shape[1], np.arange(o.shape[1]) % u.shape[1]
    positive = _log_density(u, *of_u) - _log_density(u, of_o[0][:, for_u], of_o[1][:, for_u])
    negative = _log_density(o, of_u[0][:, for_o], of_u[1][:, for_o]) - _log_density(o, *of_o)
    return summarise(positive, negative, seed)


def _fit_without_each(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (examples, N) of all but the value at that place."""
    n = values.shape[1]
    centred = values - values.mean(1, keepdims=True)
    mean = -centred / (n - 1)  # the centred sum is 0
    variance = ((centred**2).sum(1, keepdims=True) - centred**2 - (n - 1) * mean**2) / (n - 2)
    return mean + values.mean(1, keepdims=True), np.maximum(np.sqrt(np.maximum(variance, 0.0)), FLOOR)


def _log_density(values: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Log-density up to the constant that all Gaussians share."""
    return np.asarray(-np.log(deviation) - 0.5 * ((values - mean) / deviation) ** 2)
