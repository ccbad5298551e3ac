"""Facts that belong together: intervals and p-values whose unit is the group, written out and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student

from expunge.measures.audit.excess import RESAMPLES, Known, excess
from expunge.measures.privacy.roc import area_difference
from expunge.measures.statistics import mean_variance
from expunge.runs.audit import AS_IS, Attacked, Limits, Trial, first_half, in_groups
from expunge.runs.findings import findings

PEOPLE, EACH, LEFT = 24, 10, 0.3
FACTS = np.repeat(np.arange(PEOPLE), EACH)


def drawn(seed: int, paired: bool = True) -> Known:
    """Facts about people: what a model happens to think of a person is in all of them; a share `LEFT` is left."""
    generator = np.random.default_rng(seed)

    def around(mean: float) -> np.ndarray:
        person = generator.normal(0, 0.08, PEOPLE)[FACTS]
        return mean + person + generator.normal(0, 0.04, len(FACTS))

    control, base = around(0.2), around(0.8)
    return Known(
        unlearned=around(0.2 + 0.6 * LEFT),
        control=control,
        base=base,
        control_base=control if paired else around(0.2),
        paired=paired,
        groups=FACTS.tolist(),
        control_groups=FACTS.tolist(),
    )


def without(known: Known) -> Known:
    names = ("unlearned", "control", "base", "control_base", "paired")
    return Known(**{name: getattr(known, name) for name in names})


def test_the_variance_of_a_mean_over_clusters_is_the_one_written_out() -> None:
    x, groups = [0.1, 0.5, 0.9, 0.3, 0.2, 0.6], [0, 0, 1, 2, 2, 2]
    mean = sum(x) / 6
    sums = [sum(v - mean for v, g in zip(x, groups, strict=True) if g == group) / 6 for group in range(3)]
    assert mean_variance(np.array(x), groups) == pytest.approx(3 / 2 * sum(each**2 for each in sums), rel=1e-12)
    assert mean_variance(np.array(x)) == pytest.approx(np.var(x, ddof=1) / 6, rel=1e-12)
    assert mean_variance(np.array([0.4])) == 1.0
    assert mean_variance(np.array(x), [0] * 6) == 1.0


def test_groups_of_the_same_size_are_a_test_of_their_means() -> None:
    known = drawn(0)
    means = (np.array(known.unlearned) - np.array(known.control)).reshape(PEOPLE, EACH).mean(1)
    t = means.mean() / (means.std(ddof=1) / math.sqrt(PEOPLE))
    assert excess(known).p == pytest.approx(student.sf(t, PEOPLE - 1), rel=1e-9)


def test_intervals_are_those_of_drawing_people_and_not_facts() -> None:
    known = drawn(1)
    generator = np.random.default_rng(0)
    counts = generator.multinomial(PEOPLE, np.full(PEOPLE, 1 / PEOPLE), RESAMPLES)

    def means(values: object) -> np.ndarray:
        sums = np.asarray(values).reshape(PEOPLE, EACH).sum(1)
        return np.asarray(counts @ sums / (PEOPLE * EACH))

    shares = (means(known.unlearned) - means(known.control)) / (means(known.base) - means(known.control_base))
    found, wider = excess(known).share, math.sqrt(PEOPLE / (PEOPLE - 1)) * student.ppf(0.975, PEOPLE - 1) / 1.959964
    low, high = np.percentile(shares, [2.5, 97.5], method="nearest")
    assert found.low == pytest.approx(found.value + (low - found.value) * wider, rel=1e-6)
    assert found.high == pytest.approx(found.value + (high - found.value) * wider, rel=1e-6)
    alone = excess(without(known)).share
    assert found.high - found.low > 1.8 * (alone.high - alone.low)


def test_a_group_for_each_fact_changes_nothing() -> None:
    known = drawn(2)
    alone = without(known)
    grouped = Known(
        unlearned=alone.unlearned, control=alone.control, base=alone.base, control_base=alone.control_base,
        groups=list(range(100, 100 + len(FACTS))),
    )  # fmt: skip
    assert excess(grouped) == excess(alone)


def test_groups_that_tell_nothing_are_refused() -> None:
    known = without(drawn(3))
    for groups, words in (([1] * len(FACTS), "two groups"), ([0, 1], "as many groups")):
        with pytest.raises(ValueError, match=words):
            excess(
                Known(
                    unlearned=known.unlearned, control=known.control, base=known.base,
                    control_base=known.control_base, groups=groups,
                )
            )  # fmt: skip


def coverage(paired: bool, grouped: bool) -> int:
    """Of 1,000 simulations those whose interval holds the truth."""
    inside = 0
    for seed in range(1000):
        known = drawn(seed, paired)
        low, high = excess(known if grouped else without(known)).share[1:]
        inside += low <= LEFT <= high
    return inside


@pytest.mark.long
@pytest.mark.parametrize("paired", [True, False])
def test_intervals_hold_the_truth_in_93_to_97_of_100_cases(paired: bool) -> None:
    assert 930 <= coverage(paired, grouped=True) <= 970
    assert coverage(paired, grouped=False) < 800, "facts for themselves: the intervals are too narrow"


@pytest.mark.long
def test_false_alarms_of_a_model_at_the_limit_are_one_in_twenty() -> None:
    hits = sum(excess(drawn(seed), limit=LEFT).p < 0.05 for seed in range(1000))
    assert 30 <= hits <= 70


def test_areas_of_clusters_have_the_variance_of_their_sums() -> None:
    generator = np.random.default_rng(4)
    positive, negative = generator.uniform(size=40), generator.uniform(size=30)
    other_positive, other_negative = generator.uniform(size=40), generator.uniform(size=30)
    groups, negatives = np.repeat(np.arange(10), 4).tolist(), np.repeat(np.arange(10), 3).tolist()
    found = area_difference(positive, negative, other_positive, other_negative, True, (groups, groups, negatives))
    one = (positive - other_positive).reshape(10, 4).mean(1)
    other = (negative - other_negative).reshape(10, 3).mean(1)
    half = 1.959963984540054 * math.sqrt(one.var(ddof=1) / 10 + other.var(ddof=1) / 10)
    assert found.value == pytest.approx(positive.mean() - other_positive.mean())
    assert found.high - found.value == pytest.approx(half, rel=1e-9)


def test_findings_take_the_groups_of_the_facts_that_were_asked() -> None:
    known = drawn(5)
    numbers = list(range(len(FACTS)))
    trials = {
        which: Trial(setting=AS_IS, values=list(getattr(known, which)), facts=numbers)
        for which in ("unlearned", "control", "base", "control_base")
    }
    half = numbers[len(numbers) // 2 :]
    attacked = Attacked(
        name="half", title="Half", sentence="",
        unlearned=[Trial(setting="x", values=[known.unlearned[i] for i in half], facts=half)],
        control=[Trial(setting="x", values=[known.control[i] for i in half], facts=half)],
    )  # fmt: skip
    groups = {"facts": FACTS.tolist()}
    alone = {each.name: each for each in findings(Limits(), trials, [attacked], [], True)}
    together = {each.name: each for each in findings(Limits(), trials, [attacked], [], True, groups)}
    for name in ("as_is", "half", "overshoot"):
        one, other = together[name], alone[name]
        assert one.value == other.value
        assert one.high is not None
        assert one.low is not None
        assert other.high is not None
        assert other.low is not None
        assert one.high - one.low > 1.5 * (other.high - other.low), name


def test_an_attacker_is_given_all_of_a_person_or_nothing() -> None:
    assert first_half([*"aabbcc"]) == [0, 1]
    assert first_half([*"abcabd"]) == [0, 3]
    for keys in ("aabbcc", "abcabd", "aaaaab", "abbbbb", "abcdef", "aabbccddee"):
        given = first_half([*keys])
        assert 0 < len(given) < len(keys)
        assert not {keys[i] for i in given} & {keys[i] for i in range(len(keys)) if i not in given}
    assert first_half([*"aabbccddee"]) == [0, 1, 2, 3]
    assert first_half([*"aaaa"]) == [0, 1]


def test_groups_are_numbered_where_there_are_enough() -> None:
    assert in_groups(["a", "b", "a", "c", "d", "e", "f", "g", "h"]) == [0, 1, 0, 2, 3, 4, 5, 6, 7]
    assert in_groups([*"abcdefghij"]) is None, "nothing belongs together"
    assert in_groups([*"aabbccdd"]) is None, "four groups tell nothing"
    assert in_groups([]) is None
