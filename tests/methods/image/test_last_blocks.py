"""Retraining, wholly or the last blocks only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from expunge.errors import ModelError, RecipeError
from expunge.kinds.classifier.task import ImageClassifier
from expunge.methods.cf_k import CfK
from expunge.methods.eu_k import EuK
from expunge.methods.retrain import Retrain
from expunge.ops.layers import frozen, reset, tail
from expunge.train.phase import Phase
from small_images import pictures, small_work, tiny_resnet, tiny_vit
from softmax_regression import ALL, Sheet, features, one_hot, regression_work, weights_of

ADAM = Phase(name="fit", epochs=4, learning_rate=0.02, optimizer="adam", batch_size=ALL)
Make = Callable[..., ImageClassifier]
both = pytest.mark.parametrize("make", [tiny_resnet, tiny_vit])


def test_retraining_by_hand_with_class_weights() -> None:
    weights = torch.tensor([0.5, 1.0, 2.0, 1.5])
    work = regression_work(training=ADAM, class_weights=weights)
    fresh = work.frozen(work.model).model
    reset([fresh], work.generator("reset"))
    sheet = Sheet(fresh)
    assert not np.array_equal(sheet.theta, weights_of(work.model))
    x, y = features(work.retain), one_hot(work.retain.labels)
    of_each = weights.numpy()[work.retain.labels.numpy()]
    Retrain().apply(work)
    for step in range(4):
        p = sheet.p(x)
        loss = (of_each * -np.log((p * y).sum(1))).sum() / of_each.sum()
        assert work.losses["training"][step] == pytest.approx(loss, rel=1e-10)
        sheet.adam(sheet.gradient(x, of_each[:, None] * (p - y) / of_each.sum()), 0.02)
    np.testing.assert_allclose(weights_of(work.model), sheet.theta, rtol=1e-8)
    assert work.cost.passes == 3 * 4 * 12


@both
def test_retraining_depends_on_nothing_but_the_retain_set_and_the_seed(make: Make) -> None:
    results = []
    for weights, seed in ((0, 0), (1, 0), (0, 1)):
        work = small_work(make(seed=weights), seed=seed, training=ADAM)
        work.forget = pictures(5, seed=weights)
        Retrain().apply(work)
        results.append({name: value.clone() for name, value in work.model.state_dict().items()})
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert not all(torch.equal(results[0][name], results[2][name]) for name in results[0])


@pytest.mark.parametrize("kind", [Retrain, EuK])
def test_how_it_was_trained_is_known_or_given(kind: type[Retrain] | type[EuK]) -> None:
    with pytest.raises(RecipeError, match="is unknown"):
        kind(epochs=3).apply(small_work(tiny_resnet()))
    work = small_work(tiny_resnet())
    kind(epochs=2, learning_rate=0.01, batch_size=16).apply(work)
    assert [len(values) for values in work.losses.values()] == [6]
    work = small_work(tiny_resnet(), training=ADAM)
    kind(epochs=1).apply(work)
    assert [len(values) for values in work.losses.values()] == [1]


@both
@pytest.mark.parametrize("kind", [CfK, EuK])
def test_all_before_the_last_blocks_stays_to_the_bit(make: Make, kind: type[CfK] | type[EuK]) -> None:
    work = small_work(make(), training=ADAM)
    before = {name: value.clone() for name, value in work.model.state_dict().items()}
    first, last = tail(work.model, 1)
    names = {id(module): name for name, module in work.model.named_modules()}
    kind(epochs=3, learning_rate=0.05, batch_size=16).apply(work)
    after = work.model.state_dict()
    for layer in first:
        for name in layer.state_dict():
            if name in dict(layer.named_parameters(recurse=False)) or name in dict(layer.named_buffers(recurse=False)):
                key = f"{names[id(layer)]}.{name}"
                assert torch.equal(after[key], before[key]), key
    for layer in last:
        assert any(
            not torch.equal(after[f"{names[id(layer)]}.{n}"], before[f"{names[id(layer)]}.{n}"])
            for n in layer.state_dict()
        )
    assert all(parameter.requires_grad for parameter in work.model.parameters())
    assert all(parameter.grad is None for layer in first for parameter in layer.parameters(recurse=False))


@both
def test_what_the_last_blocks_knew_is_gone(make: Make) -> None:
    results = []
    for noise in (0.0, 1.0):
        task = make()
        with torch.no_grad():
            for layer in tail(task.model, 1)[1]:
                for parameter in layer.parameters():
                    parameter += noise
        work = small_work(task, training=ADAM)
        EuK().apply(work)
        results.append({name: value.clone() for name, value in work.model.state_dict().items()})
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_cf_k_by_hand() -> None:
    """Of a network of two linear layers the last one alone is a linear classifier of what the first one says."""
    work = regression_work()
    torch.manual_seed(0)
    hidden = nn.Linear(48, 6).double()
    model = nn.Sequential(nn.Flatten(), hidden, nn.Tanh(), nn.Linear(6, 4).double())
    task = ImageClassifier(model.eval())
    work = type(work)(task=task, retain=work.retain, forget=work.forget, validation=None, classes=4, seed=0)
    last = nn.ModuleDict({"head": model[3]})
    sheet, y = Sheet(last), one_hot(work.retain.labels)  # type: ignore[arg-type]
    x = np.tanh(features(work.retain) @ hidden.weight.detach().numpy().T + hidden.bias.detach().numpy())
    before, trained = [hidden], [model[3]]
    with frozen(before):
        assert work.trainable() == list(trained[0].parameters())
    with pytest.raises(ModelError, match="no 2 blocks before its head"):
        CfK(k=2).apply(work)
    work.model.requires_grad_(True)
    hidden.requires_grad_(False)  # k = 1 would train both layers: hold the first by hand
    CfK(k=1, epochs=3, learning_rate=0.05, weight_decay=1e-3, batch_size=ALL).apply(work)
    for step in range(3):
        loss, gradient = sheet.cross_entropy(x, y)
        assert work.losses["last blocks"][step] == pytest.approx(loss, rel=1e-12)
        sheet.sgd(gradient, 0.05, 1e-3)
    np.testing.assert_allclose(weights_of(last), sheet.theta, rtol=1e-9)  # type: ignore[arg-type]
