"""F, its ceiling, the score and their intervals."""

from __future__ import annotations

from typing import Any

import challenge_definition as definition
import numpy as np
import pytest

from expunge.errors import DataError
from expunge.measures.privacy.challenge import (
    Challenge,
    Models,
    challenge,
    default_bins,
    epsilons,
    forgetting_quality,
)
from expunge.measures.privacy.resampling import halves
from expunge.measures.privacy.thresholds import points


def made(
    unlearned: np.ndarray,
    retrained: np.ndarray,
    accuracies: tuple[float | np.ndarray, ...] = (0.99, 0.9, 0.72, 0.8),
    **changed: Any,
) -> Challenge:
    """With the retain accuracies of the unlearned and the retrained models, then the test accuracies."""
    n, m = np.shape(unlearned)[1], np.shape(retrained)[1]
    kept, of_retrained, new, new_of_retrained = (
        np.full(count, each) if np.isscalar(each) else each
        for count, each in zip((n, m, n, m), accuracies, strict=True)
    )
    settings: dict[str, Any] = {"compute_share": 0.1, "resamples": 100} | changed
    return challenge(Models(unlearned, kept, new), Models(retrained, of_retrained, new_of_retrained), **settings)


def drawn(seed: int, examples: int, models: int, shift: float = 0.0, shared: float = 0.0) -> tuple[np.ndarray, ...]:
    """Unlearned, retrained and independent confidences; `shared`: what all examples see of the same model."""
    g = np.random.default_rng(seed)

    def some() -> np.ndarray:
        return g.normal(size=(examples, models)) + shared * g.normal(size=(1, models))

    return some() + shift * np.abs(g.normal(size=(examples, 1))), some(), some()


def test_points_halve_with_every_half() -> None:
    assert points([0.0, 0.4999, 0.5, 0.99, 1.0, 1.7, 6.49, 6.5, 50.0], 13).tolist() == [
        *(1.0, 1.0, 0.5, 0.5, 0.25, 0.125),
        *(2.0**-12, 0.0, 0.0),
    ]
    assert points([6.5], 14)[0] == 2.0**-13
    assert forgetting_quality([0.2, 0.7, 50.0, 1.2], 10) == pytest.approx((1 + 0.5 + 0 + 0.25) / 4)


@pytest.mark.parametrize(("models", "bins"), [(2, 0), (3, 2), (16, 6), (32, 8), (64, 10), (512, 14), (1, 0)])
def test_bins_of_the_published_code(models: int, bins: int) -> None:
    assert default_bins(models) == bins


@pytest.mark.parametrize("models", [3, 8, 64, 512])
def test_quality_is_that_of_the_definition(models: int) -> None:
    values = [*np.random.default_rng(0).uniform(0, 8, 50), 0.5, 1.0, 6.5, 50.0]
    expected = definition.forgetting_quality(values, models)
    assert forgetting_quality(values, default_bins(models)) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("models", "shift", "expected"), [(16, 0, 0.171), (64, 0, 0.170), (64, 1, 0.045), (16, 2, 0.042)]
)
def test_even_a_perfect_unlearner_has_about_a_sixth(models: int, shift: float, expected: float) -> None:
    """F of normal confidences with means that many standard deviations apart."""
    g = np.random.default_rng(5)
    examples = 300 if models == 16 else 120
    found = epsilons(g.normal(shift, 1, (examples, models)), g.normal(0, 1, (examples, models)))
    deviation = points(found, default_bins(models)).std() / np.sqrt(examples)
    assert forgetting_quality(found, default_bins(models)) == pytest.approx(expected, abs=3.5 * deviation + 0.001)


def test_score_is_the_product() -> None:
    u, r, i = drawn(0, 20, 16)
    found = made(u, r, independent=i)
    assert found.retain_ratio.value == pytest.approx(1.1)  # above 1 counts, as in the contest
    assert found.test_ratio.value == pytest.approx(0.9)
    assert found.score.value == pytest.approx(found.forgetting.value * 0.99)
    assert found.forgetting.value == forgetting_quality(found.epsilons, 6)
    assert found.epsilons == tuple(epsilons(u, r))
    assert found.ceiling is not None
    assert found.ceiling.value == forgetting_quality(epsilons(i, r), 6)
    assert found.share_of_ceiling is not None
    assert found.share_of_ceiling.value == pytest.approx(found.forgetting.value / found.ceiling.value)
    assert found.notes == ()


def test_over_budget_scores_nothing_and_says_so() -> None:
    u, r, _ = drawn(0, 5, 8)
    found = made(u, r, compute_share=0.25)
    assert found.over_budget
    assert tuple(found.score) == (0, 0, 0)
    assert found.forgetting.value > 0
    assert "25.0% of retraining's compute, 20% allowed" in found.notes[0]
    assert not made(u, r, compute_share=0.25, budget=0.3).over_budget
    assert not made(u, r, compute_share=0.2).over_budget


def test_what_is_not_known_is_said() -> None:
    u, r, i = drawn(0, 5, 6)
    found = made(u, r)
    assert tuple(found.forgetting)[1:] == (0, 1)
    assert "Fewer than 8 models" in found.notes[0]
    assert "No independently retrained models" in found.notes[1]
    assert found.ceiling is found.share_of_ceiling is None
    assert any("ceiling is of 5 models and F of 6" in note for note in made(u, r, independent=i[:, :5]).notes)
    assert any("as many of both" in note for note in made(u, r[:, :5]).notes)


def test_the_same_models_have_the_share_1() -> None:
    u, r, _ = drawn(3, 15, 16)
    found = made(u, r, independent=u)
    assert found.share_of_ceiling is not None
    assert found.share_of_ceiling.value == 1
    assert found.share_of_ceiling.low <= 1 <= found.share_of_ceiling.high


def test_the_same_seed_gives_the_same_interval() -> None:
    u, r, i = drawn(1, 10, 12)
    assert made(u, r, independent=i, seed=4) == made(u, r, independent=i, seed=4)
    assert made(u, r, independent=i, seed=4).forgetting != made(u, r, independent=i, seed=5).forgetting


def test_a_deterministic_unlearner_has_nothing() -> None:
    _, r, i = drawn(1, 10, 12)
    found = made(np.zeros_like(r), r, independent=i)
    assert tuple(found.forgetting) == (0, 0, 0)
    assert found.share_of_ceiling is not None
    assert found.share_of_ceiling.value == 0


@pytest.mark.parametrize("which", [0, 2])
def test_accuracies_that_do_not_fit(which: int) -> None:
    u, r, _ = drawn(1, 4, 8)

    def with_accuracies(ours: float | np.ndarray, theirs: float) -> None:
        accuracies: list[float | np.ndarray] = [0.9] * 4
        accuracies[which : which + 2] = ours, theirs
        made(u, r, tuple(accuracies))

    for bad in (np.full(7, 0.9), 90.0):
        with pytest.raises(DataError, match="do not match"):
            with_accuracies(bad, 0.9)
    with pytest.raises(DataError, match="accuracy of 0"):
        with_accuracies(0.9, 0.0)


def test_halves_hold_half() -> None:
    found = halves(9, 200, np.random.default_rng(0))
    assert set(found.sum(1)) == {5}
    assert found.mean(0) == pytest.approx(np.full(9, 5 / 9), abs=0.15)


@pytest.mark.parametrize(("shift", "shared"), [(0.0, 0.0), (0.5, 1.0)])
def test_intervals_hold_the_truth(shift: float, shared: float) -> None:
    """Over models and examples redrawn; what examples share through a model must be seen, and only once."""
    trials = 60
    results = []
    for seed in range(trials):
        u, r, i = drawn(seed, 16, 12, shift, shared)
        found = made(u, r, independent=i, seed=seed)
        assert found.share_of_ceiling is not None
        results.append((*found.forgetting, *found.share_of_ceiling))
    f, f_low, f_high, share, share_low, share_high = np.array(results).T
    held = (f_low <= f.mean()) & (f.mean() <= f_high)
    assert held.mean() >= 0.83
    assert ((f_high - f_low) / 3.92).mean() == pytest.approx(f.std(), rel=0.35)
    truth = np.median(share)
    assert ((share_low <= truth) & (truth <= share_high)).mean() >= 0.8
