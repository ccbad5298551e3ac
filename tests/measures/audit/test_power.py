"""The smallest excess that so many facts tell: what it promises holds in simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.measures.audit.excess import Known, excess
from expunge.measures.audit.power import SURE, facts_needed, smallest_area, smallest_excess
from expunge.measures.privacy.roc import placements


def test_it_is_the_one_written_out() -> None:
    control = [0.1, 0.3, 0.2, 0.4]
    known = Known(unlearned=[0.0] * 4, control=control, base=[0.9, 0.8, 0.7, 1.0], control_base=control)
    variance = sum((value - 0.25) ** 2 for value in control) / 3
    arm = 3.182446 * (1 + 1.281552 / math.sqrt(6))
    assert smallest_excess(known) == pytest.approx(arm * math.sqrt(variance * 2 / 4) / (0.85 - 0.25), rel=1e-5)
    assert smallest_excess(Known(unlearned=[0.0], control=[0.1], base=[0.9], control_base=[0.1])) == math.inf
    same = Known(unlearned=[0.0] * 4, control=control, base=control, control_base=control)
    assert smallest_excess(same) == math.inf, "the base knows no more"


def test_facts_that_belong_together_tell_as_much_as_one() -> None:
    """Of each person the same value five times: as much as of each person one."""
    alone = [0.1, 0.3, 0.2, 0.4]
    one = Known(unlearned=[0.0] * 4, control=alone, base=[0.9] * 4, control_base=alone)
    five, people = list(np.repeat(alone, 5)), list(np.repeat(range(4), 5))
    paired = Known(unlearned=[0.0] * 20, control=five, base=[0.9] * 20, control_base=five, groups=people)
    assert smallest_excess(paired) == pytest.approx(smallest_excess(one), rel=1e-9)
    others = Known(
        unlearned=[0.0] * 20, control=five, base=[0.9] * 20, control_base=five,
        paired=False, groups=people, control_groups=people,
    )  # fmt: skip
    assert smallest_excess(others) == pytest.approx(smallest_excess(one), rel=1e-9)


def test_more_settings_take_more() -> None:
    """By hand, of 199 degrees of freedom: quantiles of the 0.9th and of the 50th root of 0.9."""
    g = np.random.default_rng(0)
    control = list(g.normal(0.2, 0.1, 200))
    known = Known(unlearned=[0.0] * 200, control=control, base=[0.9] * 200, control_base=control)
    one, many = smallest_excess(known, 1), smallest_excess(known, 50)
    root = math.sqrt(2 * 199)
    expected = max(2.8629, 1.97196 * (1 + 2.8629 / root)) / (1.97196 * (1 + 1.28155 / root))
    assert many / one == pytest.approx(expected, rel=1e-3)


def exactly(n: int, apart: np.ndarray) -> Known:
    """Values that lie so far from 0.2, of n facts."""
    control = 0.2 + apart[:n] * math.sqrt((n - 1) / n)
    return Known(unlearned=control, control=control, base=np.full(n, 0.8), control_base=np.full(n, 0.2))


def test_with_the_facts_that_it_asks_for_innocent_models_pass() -> None:
    limit, deviation, g = 0.1, 0.12, np.random.default_rng(1)

    def drawn(n: int) -> Known:
        return Known(
            unlearned=g.normal(0.2, deviation, n), control=g.normal(0.2, deviation, n),
            base=np.full(n, 0.8), control_base=np.full(n, 0.2),
        )  # fmt: skip

    exact = 2 * (1.96 * deviation / (0.6 * limit)) ** 2
    assert exact / 3 < (facts_needed(12, smallest_excess(drawn(12)), limit) or 0) < exact * 5, "from twelve values"
    spread = np.resize([1.0, -1.0], 200)  # of a control with this very deviation
    enough = next(n for n in range(12, 200, 2) if smallest_excess(exactly(n, spread * deviation)) <= limit)
    passes = 0
    for _ in range(200):
        share = excess(drawn(enough), limit=limit).share
        passes += share.value <= limit and (share.high <= limit or share.high - share.value <= limit)
    assert passes / 200 >= SURE


def test_an_area_varies_by_chance_as_it_says() -> None:
    g = np.random.default_rng(2)
    areas = [placements(g.normal(size=30), g.normal(size=40)).mean() for _ in range(2000)]
    assert smallest_area(30, 40, 1) == pytest.approx(1.96 * np.std(areas), rel=0.06)
    assert smallest_area(30, 40, 2) == pytest.approx(math.sqrt(2) * smallest_area(30, 40, 1))


def test_enough_facts_need_no_more() -> None:
    assert facts_needed(50, 0.1, 0.1) is None
    assert facts_needed(50, 0.2, 0.1) == 200
    assert facts_needed(50, math.inf, 0.1) is None
