"""Influence unlearning: the two inverses against dense algebra, and the whole step."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from expunge.methods.influence import Influence, exact, recursion
from image_transcription import double_work, gradient, inputs, logits, numbers, twin


def random_problem(count: int = 7, weights: int = 12) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.normal(size=weights), generator.normal(size=(count, weights))


@pytest.mark.parametrize(("count", "damping"), [(7, 1.0), (7, 0.01), (30, 0.3)])
def test_exact_is_the_dense_inverse(count: int, damping: float) -> None:
    v, g = random_problem(count)
    dense = np.linalg.inv(damping * np.eye(12) + g.T @ g / count) @ v
    found = exact(torch.tensor(v), torch.tensor(g), damping).numpy()
    np.testing.assert_allclose(found, dense, rtol=1e-9, atol=1e-11)


def test_exact_is_woodfisher_s_own_recursion() -> None:
    """H_0 = lambda I; each gradient changes the inverse by a matrix of rank one."""
    v, g = random_problem()
    inverse = np.eye(12) / 0.5
    for each in g:
        along = inverse @ each
        inverse -= np.outer(along, along) / (len(g) + each @ along)
    np.testing.assert_allclose(exact(torch.tensor(v), torch.tensor(g), 0.5).numpy(), inverse @ v, rtol=1e-10)


def test_the_authors_recursion_in_numpy() -> None:
    v, g = random_problem()
    k, o = v.copy(), g[0].copy()
    for each in g[1:]:
        bottom = len(g) + o @ each
        k = k - (k @ each) / bottom * o
        o = o - (o @ each) / bottom * o
    found = recursion(torch.tensor(v), iter(torch.tensor(g)), len(g)).numpy()
    np.testing.assert_allclose(found, k, rtol=1e-12)
    moved = found - v
    assert abs(moved @ g[0]) == pytest.approx(np.linalg.norm(moved) * np.linalg.norm(g[0]), rel=1e-10)


def test_the_recursion_is_near_the_inverse_where_two_gradients_agree() -> None:
    """Of two equal gradients of small length the recursion sees one, so it makes half of the inverse's correction."""
    v, g = random_problem(1)
    g = np.repeat(1e-3 * g, 2, axis=0)
    dense = np.linalg.inv(np.eye(12) + g.T @ g / 2) @ v
    found = recursion(torch.tensor(v), iter(torch.tensor(g)), 2).numpy()
    np.testing.assert_allclose(found - v, (dense - v) / 2, rtol=1e-4)


def test_the_recursion_is_the_inverse_of_one_picture_fewer_where_all_are_alike() -> None:
    """N times the gradient g: 1 - 1/N of the inverse's correction at (1 - 1/N) |g|^2. Any length of g, so no limit.

    o_i = g / (1 + (i - 1) |g|^2 / N) by induction, and k loses its part along g in the same measure.
    """
    work = double_work(retain=20)
    alike = work.retain.take(torch.zeros(20, dtype=torch.long))
    (one, *_), v = (
        [torch.cat([g.flatten() for g in found]) for found in work.gradients(alike, work.cross_entropy, batch_size=1)],
        torch.randn(len(numbers(work.model)), generator=torch.Generator().manual_seed(0), dtype=torch.float64),
    )
    square = float(one @ one)
    assert square > 0.01
    for count in (2, 20, 2000):
        share = (count - 1) / count
        found = recursion(v, (one for _ in range(count)), count)
        wanted = v - share * (v @ one) / (1 + share * square) * one
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-9, atol=1e-12)
    full = exact(v, torch.stack([one] * 20), 1.0)
    np.testing.assert_allclose(full.numpy(), (v - (v @ one) / (1 + square) * one).numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose((found - v).numpy(), (full - v).numpy(), rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("inverse", ["recursion", "exact"])
def test_the_whole_step(inverse: Literal["recursion", "exact"]) -> None:
    work = double_work(retain=20)
    model = twin(work).eval()
    lost, kept = logits(model, inputs(work, work.forget)), logits(model, inputs(work, work.retain))
    v = gradient(model, F.cross_entropy(lost, work.forget.labels, reduction="sum")) / 28
    v -= gradient(model, F.cross_entropy(kept, work.retain.labels, reduction="sum")) * 8 / (28 * 20)
    order = [int(batch.rows[0]) for batch in work.batches_of(work.retain, 1, "information")][:9]
    g = np.stack([gradient(model, F.cross_entropy(kept[i : i + 1], work.retain.labels[i : i + 1])) for i in order])
    if inverse == "exact":
        step = np.linalg.solve(2.0 * np.eye(len(v)) + g.T @ g / 9, v)
    else:
        step = recursion(torch.tensor(v), iter(torch.tensor(g)), 9).numpy()
    before = numbers(work.model)
    Influence(alpha=0.5, inverse=inverse, pictures=9, damping=2.0, batch_size=5).apply(work)
    np.testing.assert_allclose(numbers(work.model) - before, 0.5 * step, rtol=1e-6, atol=1e-10)
    assert work.cost.passes == 3 * (8 + 20 + 9)


def test_n_of_the_recursion_is_1000_where_there_are_fewer_pictures_too() -> None:
    work = double_work(retain=20)
    model = twin(work).eval()
    lost, kept = logits(model, inputs(work, work.forget)), logits(model, inputs(work, work.retain))
    v = gradient(model, F.cross_entropy(lost, work.forget.labels, reduction="sum")) / 28
    v -= gradient(model, F.cross_entropy(kept, work.retain.labels, reduction="sum")) * 8 / (28 * 20)
    order = [int(batch.rows[0]) for batch in work.batches_of(work.retain, 1, "information")]
    g = [gradient(model, F.cross_entropy(kept[i : i + 1], work.retain.labels[i : i + 1])) for i in order]
    k, o = v.copy(), g[0].copy()
    for each in g[1:]:
        bottom = 1000 + o @ each
        k = k - (k @ each) / bottom * o
        o = o - (o @ each) / bottom * o
    before = numbers(work.model)
    Influence(alpha=0.5).apply(work)
    np.testing.assert_allclose(numbers(work.model) - before, 0.5 * k, rtol=1e-6, atol=1e-10)
    fewer = recursion(torch.tensor(v), iter(torch.tensor(np.stack(g))), 20).numpy()
    assert np.linalg.norm(fewer - k) > 0.01 * np.linalg.norm(k)


def test_the_forget_loss_rises_and_an_alpha_of_0_changes_nothing() -> None:
    work = double_work()
    before = numbers(work.model)
    Influence(alpha=0).apply(work)
    np.testing.assert_array_equal(numbers(work.model), before)
    loss = F.cross_entropy(work.outputs(work.forget), work.forget.labels)
    Influence(alpha=0.2, pictures=10).apply(work)
    assert F.cross_entropy(work.outputs(work.forget), work.forget.labels) > loss
