"""SFR-on against its formulas written down again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.methods.sfron import Sfron
from softmax_regression import ALL, Sheet, features, finite_difference, one_hot, regression_work, weights_of

SETTINGS = {"steps": 7, "forget_every": 3, "learning_rate": 0.05, "weight_decay": 1e-3, "batch_size": ALL}


@pytest.mark.parametrize(("alpha", "adaptivity", "max_norm"), [(25.0, 0.5, 7.0), (0.5, 0.0, 100.0), (2.0, 2.0, 0.1)])
def test_sfron_by_hand(alpha: float, adaptivity: float, max_norm: float) -> None:
    work = regression_work()
    sheet = Sheet(work.model)
    x_f, x_r = features(work.forget), features(work.retain)
    y_f, y_r = one_hot(work.forget.labels), one_hot(work.retain.labels)
    # both sets are one batch each: the information is the square of the mean gradient
    mask = sheet.cross_entropy(x_f, y_f)[1] ** 2 >= sheet.cross_entropy(x_r, y_r)[1] ** 2
    assert 0 < mask.sum() < mask.size
    for first in (0, 3, 6):
        falling = (1 + np.cos(np.pi * first / 7)) / 2
        p = sheet.p(x_f)
        losses = -np.log((p * y_f).sum(1))
        weights = losses**-adaptivity / (losses**-adaptivity).sum()
        gradient = mask * sheet.gradient(x_f, -alpha * falling * weights[:, None] * (p - y_f))
        norm = np.sqrt((gradient**2).sum())
        sheet.sgd(gradient * min(1, max_norm / norm), 0.05 * falling, 1e-3)
        for step in range(first, min(first + 3, 7)):
            sheet.sgd(sheet.cross_entropy(x_r, y_r)[1], 0.05 * (1 + np.cos(np.pi * step / 7)) / 2, 1e-3)
    Sfron(alpha=alpha, adaptivity=adaptivity, max_norm=max_norm, **SETTINGS).apply(work)
    assert [name for name in work.losses] == [f"{part} {n}" for n in (1, 2, 3) for part in ("forget", "retain")]
    assert [len(values) for values in work.losses.values()] == [1, 3, 1, 3, 1, 1]
    np.testing.assert_allclose(weights_of(work.model), sheet.theta, rtol=1e-5, atol=1e-7)


def test_the_adaptive_mean() -> None:
    losses = torch.tensor([1.0, 4.0], requires_grad=True)
    value = Sfron(adaptivity=0.5).adapted(losses)  # weights 1 and 1/2, so 2/3 and 1/3
    assert value.item() == pytest.approx(2)
    (gradient,) = torch.autograd.grad(value, losses)
    assert gradient.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert float(Sfron(adaptivity=0).adapted(losses)) == pytest.approx(2.5)


def test_the_mask_compares_mean_squares_of_batch_gradients() -> None:
    work = regression_work()
    theta = Sheet(work.model).theta

    def information(batches: list[np.ndarray], pictures: object) -> np.ndarray:
        squares = []
        for rows in batches:
            part = pictures.take(torch.from_numpy(rows))  # type: ignore[attr-defined]

            def loss(place: np.ndarray, part: object = part) -> float:
                sheet = Sheet(work.model)
                sheet.theta = place
                return sheet.cross_entropy(features(part), one_hot(part.labels))[0]  # type: ignore[arg-type, attr-defined]

            squares.append(finite_difference(loss, theta) ** 2)
        return np.mean(squares, axis=0)

    seen = {}
    for name in ("forget", "retain"):
        pictures = getattr(work, name)
        seen[name] = information([b.rows.numpy() for b in work.batches_of(pictures, 5, "gradients")], pictures)
    masks = Sfron(threshold=2.0, batch_size=5).masks(work)
    found = np.hstack([masks[0].numpy(), masks[1].numpy()[:, None]])
    ratio = seen["forget"] / seen["retain"]
    clear = abs(np.log(ratio / 2)) > 1e-4
    assert clear.mean() > 0.9
    assert np.array_equal(found[clear], (ratio >= 2)[clear])
    assert all(mask.all() for mask in Sfron(threshold=0.0).masks(work))
