"""Fine-tuning towards sparse weights against the formula written down again."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.methods.l1_sparse import L1Sparse
from softmax_regression import ALL, Sheet, features, one_hot, regression_work, weights_of


@pytest.mark.parametrize("alpha", [0.0, 0.01])
def test_l1_sparse_by_hand(alpha: float) -> None:
    work = regression_work()
    sheet = Sheet(work.model)
    x, target = features(work.retain), one_hot(work.retain.labels)
    L1Sparse(alpha=alpha, epochs=4, learning_rate=0.05, weight_decay=1e-3, batch_size=ALL).apply(work)
    for epoch in range(4):
        strength = alpha * (4 - epoch) / 4
        loss, gradient = sheet.cross_entropy(x, target)
        assert work.losses[f"epoch {epoch + 1}"][0] == pytest.approx(
            loss + strength * abs(sheet.theta).sum(), rel=1e-12
        )
        sheet.sgd(gradient + strength * np.sign(sheet.theta), 0.05, 1e-3)
    np.testing.assert_allclose(weights_of(work.model), sheet.theta, rtol=1e-9)


def test_weights_shrink() -> None:
    sizes = []
    for alpha in (0.0, 0.05):
        work = regression_work()
        L1Sparse(alpha=alpha, epochs=20).apply(work)
        sizes.append(abs(weights_of(work.model)).sum())
    assert sizes[1] < 0.9 * sizes[0]
