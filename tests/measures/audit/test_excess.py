"""The excess over a control: known values, limits, coverage and false alarms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from expunge.measures.audit.excess import Known, excess, facts_beyond, holm, knows_more, p_values


def drawn(seed: int, n: int = 60, left: float = 0.0, spread: float = 0.1) -> Known:
    """Facts of which the base knows 0.8, a control 0.2, and the unlearned model a share `left` of the way back."""
    generator = np.random.default_rng(seed)

    def around(mean: float) -> list[float]:
        return list(np.clip(generator.normal(mean, spread, n), 0.0, 1.0))

    return Known(
        unlearned=around(0.2 + 0.6 * left), control=around(0.2), base=around(0.8), control_base=around(0.2), paired=True
    )


def test_p_values_are_against_the_limit() -> None:
    """At the limit itself one of twenty is below 5 %; the power grows on either side."""
    hits = {0.1: 0, 0.3: 0}
    for seed in range(400):
        g = np.random.default_rng(seed)
        control, base = g.normal(0.2, 0.05, 40), g.normal(0.8, 0.05, 40)
        for share in hits:
            unlearned = control + share * (base - control) + g.normal(0, 0.1, 40)
            known = Known(unlearned=unlearned, control=control, base=base, control_base=control)
            hits[share] += excess(known, limit=0.1).p < 0.05
    assert 0.025 <= hits[0.1] / 400 <= 0.08
    assert hits[0.3] / 400 > 0.95


def test_an_untouched_model_has_kept_all_and_the_control_nothing() -> None:
    base, control = [0.9, 0.7, 0.8, 0.6], [0.1, 0.3, 0.2, 0.2]
    kept = excess(Known(unlearned=base, control=control, base=base, control_base=control))
    assert kept.share.value == pytest.approx(1.0)
    gone = excess(Known(unlearned=control, control=control, base=base, control_base=control))
    assert tuple(gone.share) == (0.0, 0.0, 0.0)
    assert gone.p == pytest.approx(0.5)


def test_the_share_is_the_one_written_out() -> None:
    known = drawn(3, left=0.4)
    u, c, b, c0 = (np.mean(v) for v in (known.unlearned, known.control, known.base, known.control_base))
    found = excess(known)
    assert found.share.value == pytest.approx((u - c) / (b - c0), rel=1e-12)
    assert found.share.low < found.share.value < found.share.high


def test_p_values_are_those_of_scipy() -> None:
    known = drawn(1, left=0.05)
    paired = ttest_rel(known.unlearned, known.control, alternative="greater").pvalue
    assert excess(known).p == pytest.approx(paired, rel=1e-9)
    apart = Known(
        unlearned=known.unlearned,
        control=known.control[:40],
        base=known.base,
        control_base=known.control_base[:40],
        paired=False,
    )
    welch = ttest_ind(apart.unlearned, apart.control, equal_var=False, alternative="greater").pvalue
    assert excess(apart).p == pytest.approx(welch, rel=1e-9)
    assert excess(apart).p_less == pytest.approx(1 - welch, rel=1e-9)


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_hold_the_truth_in_93_to_97_of_100_cases(paired: bool) -> None:
    inside = 0
    for seed in range(1000):
        known = drawn(seed, n=50, left=0.3)
        known = Known(
            unlearned=known.unlearned,
            control=known.control,
            base=known.base,
            control_base=known.control_base,
            paired=paired,
        )
        low, high = excess(known).share[1:]
        inside += low <= 0.3 <= high
    assert 930 <= inside <= 970


def test_false_alarms_over_ten_attacks_are_at_most_one_in_twenty() -> None:
    alarms = 0
    for seed in range(400):
        cases = [drawn(1000 * seed + attack, n=50) for attack in range(10)]
        found = [p_values(np.array(each.unlearned), np.array(each.control), True)[0] for each in cases]
        alarms += min(holm(found)) < 0.05
    assert alarms <= 0.05 * 400 + 2 * math.sqrt(400 * 0.05 * 0.95)


def test_holm_is_the_one_written_out() -> None:
    """The example of Wikipedia's page on the method: 0.005 times 4, 0.01 times 3, 0.03 times 2, and 0.04, not below it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_base_that_knows_no_more_than_the_control_has_nothing_to_lose() -> None:
    known = drawn(5)
    assert knows_more(known)
    nothing = Known(unlearned=known.control, control=known.control, base=known.control, control_base=known.control_base)
    assert not knows_more(nothing)


def test_facts_beyond_the_control_are_found_and_innocent_ones_hardly_ever() -> None:
    generator = np.random.default_rng(0)
    control = generator.uniform(0, 0.3, 100)
    known = control + generator.normal(0, 0.02, 100)
    known[:30] += 0.5
    assert set(range(30)) <= set(facts_beyond(known, control))
    assert len(facts_beyond(known, control)) <= 36
    falsely = [len(facts_beyond(control + generator.normal(0, 0.05, 100), control)) > 0 for _ in range(200)]
    assert np.mean(falsely) <= 0.15


def test_too_few_or_unequal_facts_are_refused() -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        excess(Known(unlearned=[0.1, 0.2], control=[0.1], base=[0.5, 0.5], control_base=[0.1]))
    with pytest.raises(ValueError, match="at least two"):
        excess(Known(unlearned=[0.1], control=[0.1], base=[0.5], control_base=[0.1]))
