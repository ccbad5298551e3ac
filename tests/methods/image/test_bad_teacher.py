"""Bad teacher against its formula written down again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.methods.bad_teacher import BadTeacher
from expunge.ops.layers import reset
from softmax_regression import ALL, Sheet, features, log_softmax, regression_work, weights_of


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_bad_teacher_by_hand(temperature: float) -> None:
    work = regression_work()
    sheet = Sheet(work.model)
    bad = work.frozen(work.model)
    reset([bad.model], work.generator("teacher"))
    rows = torch.randperm(12, generator=work.generator("part"))[:6]
    x_f, x_r = features(work.forget), features(work.retain.take(rows))
    x = np.vstack([x_f, x_r])
    target = log_softmax(np.vstack([Sheet(bad.model).logits(x_f), sheet.logits(x_r)]) / temperature)
    BadTeacher(retain_share=0.5, temperature=temperature, epochs=3, learning_rate=0.01, batch_size=ALL).apply(work)
    for step in range(3):
        output = log_softmax(sheet.logits(x) / temperature)
        loss = (np.exp(target) * (target - output)).sum(1).mean() * temperature**2
        assert work.losses["teaching"][step] == pytest.approx(loss, rel=1e-5)
        sheet.adam(sheet.gradient(x, temperature * (np.exp(output) - np.exp(target)) / len(x)), 0.01)
    np.testing.assert_allclose(weights_of(work.model), sheet.theta, rtol=1e-4, atol=1e-6)
    assert work.cost.passes == (7 + 6) + 3 * 3 * (7 + 6)


def test_the_bad_teacher_knows_nothing_of_the_original() -> None:
    work, other = regression_work(weights=0), regression_work(weights=5)
    teachers = []
    for each in (work, other):
        bad = each.frozen(each.model)
        reset([bad.model], each.generator("teacher"))
        teachers.append(weights_of(bad.model))
    assert np.array_equal(*teachers)
    assert not np.array_equal(weights_of(work.model), weights_of(other.model))
