"""Draw a sample of a run's scores, and check whether they can be reproduced."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from expunge.core.score import Score
from expunge.errors import RecipeError
from expunge.report.verify import Finding

ROUNDING = 1e-3
"relative difference explained by float32 sums in another order"
NARROW_ROUNDING = 1e-2
"the same, where matrix products are in bfloat16, which has 8 bits"
SMALL = 1e-6
"difference of figures near 0 that counts as equal"
JUDGED = ("familiarity_judged",)
"scores by another model: not asked again"


def drawn(scores: Iterable[Score], number: int) -> list[Score]:
    """Draw `number` scores of the unlearned model at random; all if there are no more.

    Raises:
        RecipeError: fewer than one.
    """
    if number < 1:
        raise RecipeError("there is no score in the sample", seen=f"--sample {number}", allowed="1 or more")
    own = [score for score in scores if score.model == "unlearned" and score.measure not in JUDGED]
    return random.SystemRandom().sample(own, min(number, len(own)))


def compared(stored: Sequence[Score], again: Iterable[Score], narrow: bool = False) -> list[Finding]:
    """Whether each stored score equals the new measurement, within rounding.

    Args:
        narrow: whether matrix products are in bfloat16.
    """
    found = {(score.measure, score.split): score for score in again}
    return [_finding(score, found.get((score.measure, score.split)), narrow) for score in stored]


def _finding(stored: Score, again: Score | None, narrow: bool) -> Finding:
    name = f"the score {stored.measure}, {stored.split} ({stored.value:.6g}, n = {stored.n})"
    if again is None:
        return Finding(f"{name} was not measured again: the run's data give none", False)
    rounding = max(SMALL, (NARROW_ROUNDING if narrow else ROUNDING) * max(abs(stored.value), abs(again.value)))
    same = again.n == stored.n and abs(again.value - stored.value) <= rounding
    if same:
        return Finding(f"{name} is reproduced from the saved model", True)
    return Finding(f"{name} is not reproduced: {again.value:.6g}, n = {again.n}", False)
