"""Boundary shrink and boundary expanding against their formulas written down again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from expunge.methods.boundary_expand import BoundaryExpand, narrow, widen
from expunge.methods.boundary_shrink import BoundaryShrink
from small_images import small_work, tiny_resnet, tiny_vit
from softmax_regression import ALL, Sheet, features, one_hot, regression_work, weights_of


def test_shrink_by_hand() -> None:
    work = regression_work(forget=30)
    sheet = Sheet(work.model)
    work.forget = replace(work.forget, labels=torch.from_numpy(sheet.p(features(work.forget)).argmax(1)))
    x, y = features(work.forget), one_hot(work.forget.labels)
    uphill = np.sign((sheet.p(x) - y) @ sheet.theta[:, :-1])
    moved = np.clip((x + 1) / 2 + 0.02 * uphill, 0, 1) * 2 - 1
    logits = sheet.logits(moved)
    unmoved = (logits.argmax(1) == work.forget.labels.numpy()).sum()
    assert 0 < unmoved < 30  # some leave their class, others do not
    target = np.where(y == 1, -np.inf, logits).argmax(1)
    method = BoundaryShrink(step=0.02, epochs=4, learning_rate=0.05, weight_decay=1e-3, batch_size=ALL)
    assert method.nearest(work).tolist() == target.tolist()
    work.cost.passes = 0
    method.apply(work)
    for step in range(4):
        loss, gradient = sheet.cross_entropy(x, one_hot(target))
        assert work.losses["shrinking"][step] == pytest.approx(loss, rel=1e-12)
        sheet.sgd(gradient, 0.05, 1e-3)
    np.testing.assert_allclose(weights_of(work.model), sheet.theta, rtol=1e-9)
    assert work.cost.passes == 30 * (4 + 4 * 3)


@pytest.mark.parametrize("fresh", ["xavier", "pytorch"])
def test_expand_by_hand(fresh: Literal["xavier", "pytorch"]) -> None:
    work = regression_work()
    added = nn.Linear(48, 4).double()
    with torch.no_grad():
        added.weight.copy_(work.model.head.weight)
        added.bias.copy_(work.model.head.bias)
    widen(added, work.generator("class"), fresh)
    sheet = Sheet(nn.ModuleDict({"head": added}))  # type: ignore[arg-type]
    assert sheet.theta.shape == (5, 49)
    assert np.array_equal(sheet.theta[:4], weights_of(work.model))
    x = features(work.forget)
    law: dict[str, Any] = {} if fresh == "xavier" else {"fresh": fresh}
    BoundaryExpand(epochs=4, learning_rate=0.05, weight_decay=1e-3, batch_size=ALL, **law).apply(work)
    for step in range(4):
        loss, gradient = sheet.cross_entropy(x, one_hot(np.full(len(x), 4), 5))
        assert work.losses["expanding"][step] == pytest.approx(loss, rel=1e-12)
        sheet.sgd(gradient, 0.05, 1e-3)
    np.testing.assert_allclose(weights_of(work.model), sheet.theta[:4], rtol=1e-9)


@pytest.mark.parametrize("make", [tiny_resnet, tiny_vit])
def test_the_head_has_its_size_again(make: object) -> None:
    work = small_work(make())  # type: ignore[operator]
    shapes = {name: value.shape for name, value in work.model.state_dict().items()}
    BoundaryExpand(epochs=1).apply(work)
    assert {name: value.shape for name, value in work.model.state_dict().items()} == shapes
    assert work.outputs(work.forget).shape == (8, 4)


@pytest.mark.parametrize(("fresh", "std"), [("xavier", (2 / (3000 + 11)) ** 0.5), ("pytorch", (3 * 3000) ** -0.5)])
def test_the_law_of_the_added_class(fresh: Literal["xavier", "pytorch"], std: float) -> None:
    """Xavier's normal law for 3,000 inputs and eleven outputs, bias 0; PyTorch's is uniform up to 1 / sqrt(inputs)."""
    layer = nn.Linear(3000, 10)
    before = layer.weight.detach().clone()
    widen(layer, torch.Generator().manual_seed(0), fresh)
    assert torch.equal(layer.weight[:10], before)
    assert float(layer.weight[10].detach().std()) == pytest.approx(std, rel=0.05)
    assert (float(layer.bias[10].detach()) == 0) == (fresh == "xavier")


def test_widening_and_narrowing_changes_no_bit() -> None:
    for bias in (True, False):
        layer = nn.Linear(5, 3, bias=bias)
        before = {name: value.clone() for name, value in layer.state_dict().items()}
        widen(layer, torch.Generator().manual_seed(0))
        assert layer.out_features == 4
        narrow(layer, 3)
        assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
