"""U-LiRA and RULI."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import gaussian_kde, norm

from expunge.errors import DataError
from expunge.measures.privacy.per_example import PerExampleAttack, summarise
from expunge.measures.privacy.ruli import _log_density, ruli
from expunge.measures.privacy.ulira import _fit_without_each, ulira
from expunge.measures.privacy.ulira import _log_density as of_gaussian


def groups(seed: int, shift: float, examples: int = 60, models: int = 12) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    level = 5 * g.normal(size=(examples, 1))  # hard and easy examples
    return level + shift + g.normal(size=(examples, models)), level + g.normal(size=(examples, models))


def estimates(attack: PerExampleAttack) -> list:
    return [attack.accuracy, attack.auc, attack.tpr_1_percent, attack.tpr_1_permille]


def test_summary_worked_by_hand() -> None:
    found = summarise(np.array([[2.0, -1.0], [1.0, 0.0]]), np.array([[-2.0, -3.0], [-4.0, 3.0]]), 0)
    assert found.examples == ((0.5 + 1) / 2, (0.75 + 0.5) / 2)
    assert found.accuracy.value == pytest.approx(0.6875)
    assert found.auc.value == pytest.approx(12 / 16)
    assert found.tpr_1_percent.value == found.tpr_1_permille.value == 0


def test_leaving_one_out_is_leaving_one_out() -> None:
    values = np.random.default_rng(0).normal(3, 2, (4, 7))
    mean, deviation = _fit_without_each(values)
    for place in range(7):
        rest = np.delete(values, place, axis=1)
        assert mean[:, place] == pytest.approx(rest.mean(1))
        assert deviation[:, place] == pytest.approx(rest.std(1, ddof=1))


def test_log_odds_are_those_of_two_gaussians() -> None:
    x, (of_unlearned, of_held_out) = np.array([1.5, 9.0]), np.array([[1.0, 1.0], [6.0, 2.0]])
    expected = norm.logpdf(x, 1, 1) - norm.logpdf(x, 6, 2)
    assert of_gaussian(x, *of_unlearned) - of_gaussian(x, *of_held_out) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [1.0, 2.0, 4.0])
def test_ulira_comes_near_to_the_best_that_is_possible(shift: float) -> None:
    """Unit normals that far apart are guessed right with probability Phi(shift / 2) at most."""
    found = ulira(*groups(0, shift, examples=150, models=30))
    assert norm.cdf(shift / 2) - 0.03 <= found.accuracy.value <= norm.cdf(shift / 2) + 0.01


def test_no_difference_is_chance() -> None:
    for attack in (ulira(*groups(1, 0.0)), ruli(*groups(1, 0.0))):
        assert attack.accuracy.low <= 0.5 <= attack.accuracy.high
        assert attack.auc.low <= 0.5 <= attack.auc.high
        assert attack.accuracy.value == pytest.approx(0.5, abs=0.05)
        assert attack.tpr_1_permille.value <= attack.tpr_1_percent.value < 0.06


def test_a_group_that_attacks_itself_would_find_what_is_not_there() -> None:
    """With the attacked model in its own fit, even equal groups seem to differ: why it is left out."""
    u, o = groups(2, 0.0, examples=300, models=3)
    of_u, of_o = [(group.mean(1, keepdims=True), group.std(1, ddof=1, keepdims=True)) for group in (u, o)]
    found = norm.logpdf(u, *of_u) - norm.logpdf(u, *of_o), norm.logpdf(o, *of_o) - norm.logpdf(o, *of_u)
    with_itself = np.mean(np.array(found) > 0)
    assert with_itself > 0.6
    assert ulira(u, o).accuracy.value == pytest.approx(0.5, abs=0.03)


def test_a_variance_of_zero_gives_figures() -> None:
    constant = np.full((5, 8), 2.0)
    for found in (ulira(constant, constant + 1), ruli(constant, constant + 1)):
        assert np.isfinite(estimates(found)).all()
    assert ulira(constant, constant + 1).accuracy.value == 1
    assert ulira(constant, constant).accuracy.value == 0.5


@pytest.mark.parametrize("answers", [bool, int, float])
def test_right_and_wrong_answers_are_refused(answers: type) -> None:
    u, o = groups(3, 1.0)
    for attack in (ulira, ruli):
        with pytest.raises(DataError, match="not confidences"):
            attack((u > 0).astype(answers), (o > 0).astype(answers))


def test_too_few_models_and_unlike_examples() -> None:
    u, o = groups(3, 1.0)
    with pytest.raises(DataError, match="Too few models: held-out models"):
        ulira(u, o[:, :2])
    for attack in (ulira, ruli):
        with pytest.raises(DataError, match="same examples"):
            attack(u, o[:-1])


def test_privacy_score_is_that_of_kernel_densities() -> None:
    g = np.random.default_rng(4)
    u, o, x = g.normal(1, 2, (1, 20)), g.normal(0, 2, (1, 15)), np.array([[-1.0, 0.5, 6.0]])
    densities = [np.exp(norm.logpdf(x[0][:, None], group[0], 1.0)).mean(1) for group in (u, o)]
    log_odds = _log_density(x, u, leave_out=False) - _log_density(x, o, leave_out=False)
    assert log_odds[0] == pytest.approx(np.log(densities[0] / densities[1]))
    kde = gaussian_kde(u[0], bw_method=1.0 / u[0].std(ddof=1))
    assert np.exp(_log_density(x, u, leave_out=False)[0]) / np.sqrt(2 * np.pi) == pytest.approx(kde(x[0]))


def test_privacy_score_far_from_all_models() -> None:
    x, u, o = np.array([[100.0, -100.0, 0.0]]), np.full((1, 2), 2.0), np.full((1, 2), -2.0)
    log_odds = _log_density(x, u, leave_out=False) - _log_density(x, o, leave_out=False)
    assert expit(log_odds[0]) == pytest.approx([1, 0, 0.5])


def test_densities_leave_the_attacked_model_out() -> None:
    u = np.array([[0.0, 1.0, 5.0]])
    left = _log_density(u, u)[0]
    for place in range(3):
        assert left[place] == pytest.approx(_log_density(u[:, [place]], np.delete(u, place, 1), leave_out=False)[0, 0])


def test_ruli_sees_privacy_and_efficacy_apart() -> None:
    u, o = groups(5, 3.0)
    assert ruli(u, o).auc.value > 0.95
    assert ruli(u, groups(5, 3.0)[0]).auc.value < 0.6


def test_an_interval_over_examples_holds_the_truth() -> None:
    truth, held = norm.cdf(0.5), 0
    for seed in range(16):
        attack = ulira(*groups(100 + seed, 1.0, examples=40, models=40), seed=seed)
        held += attack.accuracy.low - 0.01 <= truth <= attack.accuracy.high + 0.01  # fits from 40 models cost a little
    assert held >= 13
