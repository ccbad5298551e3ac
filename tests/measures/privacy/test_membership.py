"""The population membership attack."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.errors import DataError
from expunge.measures.privacy.membership import _fit, features, membership


def test_features_worked_by_hand() -> None:
    found = features(np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]), [1, 2])
    entropy = [1.5 * np.log(2), -(0.2 * np.log(0.1) + 0.8 * np.log(0.8))]
    assert found == pytest.approx(np.array([[np.log(4), entropy[0], 0.5], [-np.log(0.8), entropy[1], 0.8]]))


def test_no_difference_is_chance() -> None:
    values = []
    for seed in range(16):
        g = np.random.default_rng(seed)
        found = membership(g.normal(size=(60, 3)), g.normal(size=(90, 3)), seed=seed)
        values.append((found.auc.value, found.auc.low <= 0.5 <= found.auc.high))
    areas, held = np.array(values).T
    assert areas.mean() == pytest.approx(0.5, abs=0.03)
    assert held.mean() >= 0.75


def test_a_difference_is_found() -> None:
    g = np.random.default_rng(0)
    found = membership(g.normal(-2, 1, (200, 3)), g.normal(0, 1, (300, 3)))
    assert found.auc.value > 0.98
    assert 0.5 < found.tpr_1_percent.low <= found.tpr_1_percent.value <= found.tpr_1_percent.high
    assert len(found.forget_scores) == 200
    assert np.mean(found.forget_scores) > 0.9 > 0.1 > np.mean(found.test_scores)


def test_the_fit_is_at_the_minimum() -> None:
    """Gradient of the class-balanced penalised log-loss at the fit, worked out independently."""
    g = np.random.default_rng(1)
    x, y = g.normal(2, 3, (50, 2)), (np.arange(50) < 20).astype(float)
    x[:20] += 2
    rule = _fit(x, y)
    design = np.column_stack(((x - x.mean(0)) / x.std(0), np.ones(50)))
    importance = np.where(y == 1, 50 / 40, 50 / 60)
    gradient = design.T @ (importance * (rule.predict_proba(x)[:, 1] - y)) + [*rule[-1].coef_[0], 0.0]
    assert gradient == pytest.approx(np.zeros(3), abs=1e-7)


def test_separable_constant_and_huge_features() -> None:
    forget, test = np.zeros((20, 3)), np.zeros((20, 3))
    assert membership(forget, test).auc.value == 0.5
    forget[:, 0] = 1e6
    assert membership(forget, test).auc.value == 1


def test_the_same_seed_gives_the_same_figures() -> None:
    g = np.random.default_rng(2)
    a, b = g.normal(size=(30, 3)), g.normal(size=(30, 3))
    assert membership(a, b, seed=1) == membership(a, b, seed=1)


@pytest.mark.parametrize(
    ("forget", "message"),
    [(np.zeros((3, 2)), "Too few"), (np.zeros((9, 3)), "do not match"), (np.full((9, 2), np.nan), "not finite")],
)
def test_bad_input(forget: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        membership(forget, np.zeros((9, 2)))
