"""Epsilon by sorted counts against the definition, on random and adversarial sets of confidences."""

from __future__ import annotations

import challenge_definition as definition
import numpy as np
import pytest
from numpy.typing import ArrayLike

from expunge.errors import DataError
from expunge.measures.privacy.challenge import epsilons


def epsilon(u: ArrayLike, r: ArrayLike) -> float:
    return float(epsilons([u], [r])[0])


def random_pair(kind: str, n: int, m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    if kind == "gaussian":
        return g.normal(0, 1, n), g.normal(g.choice([0, 0.5, 3]), g.choice([0.3, 1, 3]), m)
    if kind == "heavy-tailed":
        return 3 * g.standard_t(2, n), g.standard_cauchy(m) + 1
    if kind == "narrow":
        return g.normal(0, 0.001, n), g.normal(0, 0.002, m)
    if kind == "ties":
        return g.integers(-3, 4, n) * 0.5, g.integers(-2, 5, m) * 0.5
    if kind == "hundredths":  # on the spacing of the grid
        return g.integers(-30, 40, n) * 0.01, g.integers(-20, 50, m) * 0.01
    if kind == "grid":  # on the grids of interval ends, up to rounding
        return g.integers(-90, 90, n) * 4 / 399, g.integers(-90, 90, m) * 4 / 400
    shared = g.normal(0, 2, min(n, m))
    return np.append(shared, g.normal(0, 2, n - len(shared))), np.append(shared, g.normal(0, 2, m - len(shared)))


KINDS = ["gaussian", "heavy-tailed", "narrow", "ties", "hundredths", "grid", "shared values"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(16, 16), (2, 2), (5, 12)])
def test_it_is_that_of_the_definition(kind: str, sizes: tuple[int, int]) -> None:
    u, r = random_pair(kind, *sizes, seed=sum(sizes))
    assert epsilon(u, r) == pytest.approx(definition.epsilon(u, r), abs=1e-9)


ONE_SIDED = np.array([0.0, 1.0, 2.0, 3.0])
CASES = {
    "identical": (np.linspace(-1, 1, 8), np.linspace(-1, 1, 8)),
    "disjoint": (np.linspace(0, 1, 8), np.linspace(5, 6, 8)),
    "disjoint, the other way": (np.linspace(5, 6, 8), np.linspace(0, 1, 8)),
    "apart by less than the spacing": (np.linspace(0, 1, 8), np.linspace(1.0003, 2, 8)),
    "errors of one kind alone": (ONE_SIDED, ONE_SIDED + 2.5),
    "one inside the other": (np.linspace(-0.5, 0.5, 8), np.linspace(-9, 9, 8)),
    "around": (np.linspace(-0.5, 0.5, 8), np.array([-4.0, -3, -2, -1, 1, 2, 3, 4])),
    "constant and not": (np.full(8, 0.3), np.linspace(0, 1, 8)),
    "equal constants": (np.full(8, 0.3), np.full(8, 0.3)),
    "unequal constants": (np.full(8, 0.3), np.full(8, 0.9)),
    "constants apart by less than the spacing": (np.full(8, 0.3), np.full(8, 0.3001)),
    "just not narrow": (np.array([0.0, 0.0101]), np.array([0.0, 1.0])),
    "far out": (np.array([-103.6, 0, 1, 103.6]), np.array([-103.6, 2, 3, 103.6])),
    "large": (np.array([1e6, 1e6 + 1, 1e6 + 3]), np.array([1e6 + 0.5, 1e6 + 2, 1e6 + 4])),
    "equal medians and ranges": (np.array([0.0, 1, 2]), np.array([0.0, 1, 2])),
}


@pytest.mark.parametrize("name", CASES)
def test_adversarial_cases_are_those_of_the_definition(name: str) -> None:
    u, r = CASES[name]
    assert epsilon(u, r) == pytest.approx(definition.epsilon(u, r), abs=1e-9)
    assert epsilon(r, u) == pytest.approx(definition.epsilon(r, u), abs=1e-9)


def test_a_row_of_thresholds_at_once_is_one_threshold_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    every = definition.right_ends
    monkeypatch.setattr(definition, "right_ends", lambda narrow: every(narrow)[::40])
    u, r = random_pair("gaussian", 6, 6, 0)
    assert definition.epsilon(u, r) == pytest.approx(definition.epsilon(u, r, slowly=True), abs=1e-12)


def test_worked_by_hand() -> None:
    """The best threshold, 2.5, has one error in four of each kind: log(1 - 1e-5 - 1/4) - log(1/4).

    The interval from 3 to 5 has errors of one kind alone, so it is dropped.
    """
    u, r = np.array([0.0, 1.0, 2.0, 6.0]), np.array([3.0, 4.0, 5.0, 1.5])
    assert epsilon(u, r) == pytest.approx(np.log(0.75 - 1e-5) - np.log(0.25), abs=1e-12)


def test_limits() -> None:
    assert epsilon([0.0, 1.0], [5.0, 6.0]) == 50  # separated
    assert epsilon([0.0, 0.0099], [0.0, 1.0]) == 50  # under 1 % of the other's range
    assert epsilon([2.0, 2.0, 2.0], [2.0, 2.0, 2.0]) == 0  # no attack is left
    assert epsilon([0.0, 2.0, 4.0], [0.0, 2.0, 4.0]) < 0.8


def test_more_models_show_more_of_the_same_difference() -> None:
    g = np.random.default_rng(0)
    few = epsilons(g.normal(0, 1, (40, 8)), g.normal(2, 1, (40, 8)))
    many = epsilons(g.normal(0, 1, (40, 64)), g.normal(2, 1, (40, 64)))
    assert np.median(few[few < 50]) < np.median(many[many < 50])


def test_shifting_both_changes_next_to_nothing() -> None:
    g = np.random.default_rng(1)
    u, r = g.normal(0, 1, (10, 16)), g.normal(0.5, 1, (10, 16))
    assert np.mean(np.abs(epsilons(u, r) - epsilons(u + 8, r + 8)) < 1e-6) >= 0.9


def test_examples_are_independent_of_each_other() -> None:
    g = np.random.default_rng(2)
    u, r = g.normal(0, 1, (6, 12)), g.normal(0, 2, (6, 9))
    assert epsilons(u, r).tolist() == [epsilon(a, b) for a, b in zip(u, r, strict=True)]


@pytest.mark.parametrize("seed", range(2))
def test_halves_have_the_epsilon_of_the_attacks_on_them(seed: int) -> None:
    """Counting a half on the attacks of the whole gives what the definition gives for the half, within its grid."""
    from expunge.measures.privacy.resampling import _half_epsilons
    from expunge.measures.privacy.thresholds import attack_epsilons, counts_below, find_attacks

    u, r = random_pair("gaussian", 16, 16, seed)
    attacks = find_attacks(u, r)
    everything = np.ones((1, 16), bool)
    whole = attack_epsilons(attacks, counts_below(attacks, u), counts_below(attacks, r))
    assert _half_epsilons(attacks, u, r, everything, everything)[0] == min(float(whole), 50)
    half = np.arange(16)[None] < 8
    assert _half_epsilons(attacks, u, r, half, half)[0] == pytest.approx(epsilon(u[:8], r[:8]), abs=0.7)


@pytest.mark.parametrize(
    ("u", "r", "message"),
    [
        ([[0.0, np.nan]], [[0.0, 1.0]], "not finite"),
        ([[0.0, 1.5]], [[0.0, np.inf]], "not finite"),
        ([[0.5]], [[0.0, 1.5]], "Too few models"),
        ([[0.5, 1.0]], [[0.0, 1.5], [0.0, 1.5]], "same examples"),
        ([0.5, 1.0], [0.0, 1.5], "wrong shape"),
        ([[True, False]], [[0.0, 1.5]], "not confidences"),
    ],
)
def test_what_cannot_be_compared_is_refused(u: list, r: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        epsilons(np.array(u), np.array(r))
