"""NegGrad+ against its formula written down again, and against gradient difference."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.kinds.classifier.training import unlearn
from expunge.methods.gradient_difference import GradientDifference
from expunge.methods.neggrad_plus import NeggradPlus
from expunge.train.phase import Phase
from softmax_regression import ALL, Sheet, features, one_hot, regression_work, weights_of

PHASE = Phase(name="training", epochs=3, learning_rate=0.05, weight_decay=1e-3, batch_size=ALL)


@pytest.mark.parametrize("alpha", [0.2, 0.95])
def test_neggrad_plus_by_hand(alpha: float) -> None:
    work = regression_work()
    sheet = Sheet(work.model)
    sets = [(features(part), one_hot(part.labels)) for part in (work.retain, work.forget)]
    unlearn(work, NeggradPlus(alpha=alpha), PHASE)
    for step in range(3):
        (kept, kept_gradient), (lost, lost_gradient) = (sheet.cross_entropy(*part) for part in sets)
        assert work.losses["training"][step] == pytest.approx(alpha * kept - (1 - alpha) * lost, rel=1e-12)
        sheet.sgd(alpha * kept_gradient - (1 - alpha) * lost_gradient, 0.05, 1e-3)
    np.testing.assert_allclose(weights_of(work.model), sheet.theta, rtol=1e-12)


def test_it_is_gradient_difference_with_weights_of_sum_one() -> None:
    results = []
    for method in (NeggradPlus(alpha=0.75), GradientDifference(forget_weight=0.25, retain_weight=0.75)):
        work = regression_work()
        unlearn(work, method, PHASE)
        results.append(weights_of(work.model))
    assert np.array_equal(*results)
