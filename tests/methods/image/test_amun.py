"""AMUN against its formulas written down again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.kinds.classifier.task import Pictures
from expunge.methods.amun import Amun
from softmax_regression import ALL, Sheet, features, one_hot, regression_work, weights_of


def nearest(
    sheet: Sheet, x: np.ndarray, label: int, radius: float, steps: int, restarts: bool = True
) -> tuple[np.ndarray, int]:
    """One picture (48,) in pixels from 0 to 1: projected ascent in balls that double."""
    place = x.copy()
    while True:
        place = x.copy() if restarts else place
        for step in range(steps + 1):
            p = sheet.p(2 * place[None] - 1)[0]
            if p.argmax() != label:
                return place, int(p.argmax())
            if step < steps:
                gradient = (p - one_hot(np.array(label))) @ sheet.theta[:, :-1] * 2
                change = place + 0.1 * radius * gradient / np.linalg.norm(gradient) - x
                change *= min(1, radius / np.linalg.norm(change))
                place = np.clip(x + change, 0, 1)
        radius *= 2


@pytest.mark.parametrize("with_forget", [True, False])
def test_amun_by_hand(with_forget: bool) -> None:
    work = regression_work(forget=10)
    sheet = Sheet(work.model)
    known = sheet.p(features(work.forget)).argmax(1)
    some = torch.from_numpy(np.where(np.arange(10) % 3 == 0, work.forget.labels.numpy(), known))  # most are known
    work.forget = Pictures(pixels=work.forget.pixels, labels=some)
    x_f = features(work.forget)
    found = [nearest(sheet, (x + 1) / 2, int(y), 0.04, 20) for x, y in zip(x_f, some.tolist(), strict=True)]
    method = Amun(search_steps=20, with_forget=with_forget, epochs=3, learning_rate=0.05, batch_size=ALL)
    rows, pixels, labels = method.adversarial(work)
    assert rows.tolist() == list(range(10))
    assert labels.tolist() == [label for _, label in found]
    np.testing.assert_allclose(pixels.numpy().reshape(10, -1), [place for place, _ in found], rtol=1e-9, atol=1e-12)
    already = known != some.numpy()
    assert already.any()
    np.testing.assert_allclose(pixels.numpy().reshape(10, -1)[already], (x_f[already] + 1) / 2, rtol=1e-12)
    work.cost.passes = 0
    method.apply(work)
    parts = [(features(work.retain), one_hot(work.retain.labels))]
    parts += [(x_f, one_hot(some))] if with_forget else []
    parts.append((2 * np.array([place for place, _ in found]) - 1, one_hot(labels)))
    x, y = np.vstack([part[0] for part in parts]), np.vstack([part[1] for part in parts])
    for step in range(3):
        loss, gradient = sheet.cross_entropy(x, y)
        assert work.losses["relearning"][step] == pytest.approx(loss, rel=1e-9)
        sheet.sgd(gradient, 0.05, 5e-4)
    np.testing.assert_allclose(weights_of(work.model), sheet.theta, rtol=1e-8)
    training = 3 * 3 * len(x)
    assert training + 10 < work.cost.passes < training + 10 * 3 * 21 * 8


@pytest.mark.parametrize("restarts", [True, False])
def test_where_the_search_in_the_next_ball_begins(restarts: bool) -> None:
    work = regression_work(forget=10)
    sheet, x_f = Sheet(work.model), (features(work.forget) + 1) / 2
    work.forget = Pictures(pixels=work.forget.pixels, labels=torch.from_numpy(sheet.p(2 * x_f - 1).argmax(1)))
    found = [nearest(sheet, x, int(y), 0.02, 3, restarts) for x, y in zip(x_f, work.forget.labels, strict=True)]
    _, pixels, labels = Amun(radius=0.02, search_steps=3, restarts=restarts).adversarial(work)
    assert labels.tolist() == [label for _, label in found]
    np.testing.assert_allclose(pixels.numpy().reshape(10, -1), [place for place, _ in found], rtol=1e-9, atol=1e-10)


def test_a_search_that_goes_on_is_cheaper() -> None:
    passes = {}
    for restarts in (True, False):
        work = regression_work(forget=10)
        Amun(radius=0.001, search_steps=3, restarts=restarts).adversarial(work)
        passes[restarts] = work.cost.passes
    assert passes[False] <= passes[True]


def test_a_picture_that_cannot_be_changed_is_left_out() -> None:
    work = regression_work()
    with torch.no_grad():
        for model in (work.model, work.original.model):
            model.head.weight.zero_()
            model.head.bias.copy_(torch.tensor([3.0, 0, 0, 0]))
    always = work.forget.labels == 0
    assert 0 < always.sum() < len(always)
    rows, _, labels = Amun(search_steps=2).adversarial(work)
    assert rows.tolist() == (~always).nonzero().flatten().tolist()
    assert labels.tolist() == [0] * len(rows)
