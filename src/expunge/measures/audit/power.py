"""The power of a number of facts, from the control and the base model alone, before the audited model is measured."""

from __future__ import annotations

import math

import numpy as np

from expunge.measures.audit.excess import Known
from expunge.measures.statistics import mean_variance, t_quantile

SURE = 0.9
"probability that a model that knows as much as the control is found to, under all settings together"


def smallest_excess(known: Known, settings: int = 1) -> float:
    r"""The smallest excess that these facts can detect: an innocent model's upper limit is that far from 0.

    Of a model that knows as much as the control, and whose errors are others than the control's, the difference of
    means has the variance \( s_c^2 (1 / n_u + 1 / n_c) \). With a chance of `SURE` of all \( k \) settings together, so
    that each has the chance \( 0.9^{1/k} \) with the normal quantile z, two things are within the limit: the value, z
    standard errors; and the upper arm of its interval, Student's 97.5 % quantile times an error that is itself
    estimated, and so \( 1 + z / \sqrt{2 (n - 1)} \) times as long. The larger one counts, over what the base model
    knows beyond the control.

    With groups of facts, \( s_c^2 / n_c \) is the variance of the control's mean over groups (`mean_variance`), and
    the numbers are those of groups.

    Args:
        known: its `unlearned` only gives the number of facts.
        settings: number judged together.
    """
    control = np.asarray(known.control, np.float64)
    whole = float(np.mean(known.base) - np.mean(known.control_base))
    together = known.groups if known.paired else known.control_groups
    n = len(known.unlearned if known.groups is None else set(known.groups))
    m = len(control if together is None else set(together))
    if whole <= 0 or min(n, m) < 2:
        return math.inf
    error = math.sqrt(mean_variance(control, together) * (1 + m / n))
    z, degrees = _normal_quantile(SURE ** (1 / settings)), min(n, m) - 1
    return max(z, t_quantile(degrees) * (1 + z / math.sqrt(2 * degrees))) * error / whole


def smallest_area(facts: int, others: int, models: int, settings: int = 1) -> float:
    r"""The same for a difference of areas under the ROC curve, in either direction.

    By chance an area has the variance \( (n + m + 1) / (12 n m) \) (Mann and Whitney 1947, Annals of Mathematical
    Statistics 18, 50).

    Args:
        facts, others: n, and m texts that no model saw.
        models: number of models whose areas vary: 2 if the control is another model, 1 if it is chance itself.
    """
    error = math.sqrt(models * (facts + others + 1) / (12 * facts * others))
    return max(_normal_quantile(0.975), _normal_quantile((1 + SURE ** (1 / settings)) / 2)) * error


def facts_needed(facts: int, smallest: float, limit: float) -> int | None:
    """About how many facts can detect an excess as small as the limit; None if these can. Errors shrink with the root
    of n."""
    if smallest <= limit:
        return None
    return math.ceil(facts * (smallest / limit) ** 2) if math.isfinite(smallest) else None


def _normal_quantile(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))
