"""Each method's loss against its paper's formula, written out in numpy in float64, and against finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from expunge.kinds.language.task import CausalLM
from expunge.train.step import IGNORED, Batch
from transcription import (
    FORGET,
    RETAIN,
    check_gradient,
    example_nll,
    gradient,
    log_sigmoid,
    log_softmax,
    loss_of,
    mean_nll,
    row_nll,
    small_gpt2,
)


@pytest.fixture(scope="module")
def task() -> CausalLM:
    return small_gpt2()


def generic(batch: Batch) -> Batch:
    """The forget set with other labels, some positions left out of the loss."""
    labels = torch.where(batch.labels == IGNORED, IGNORED, (batch.labels * 7 + 3) % 190)
    labels[0, 3] = IGNORED
    return replace(batch, labels=labels, normaliser=float((labels != IGNORED).sum()))


def test_gradient_ascent_is_minus_the_nll(task: CausalLM) -> None:
    assert loss_of(task, {"name": "gradient_ascent"}) == pytest.approx(-mean_nll(task, FORGET), rel=1e-12)


@pytest.mark.parametrize(("gamma", "alpha"), [(1.0, 1.0), (0.3, 2.5), (2.0, 0.0)])
def test_gradient_difference(task: CausalLM, gamma: float, alpha: float) -> None:
    expected = -gamma * mean_nll(task, FORGET) + alpha * mean_nll(task, RETAIN)
    spec = {"name": "gradient_difference", "forget_weight": gamma, "retain_weight": alpha}
    assert loss_of(task, spec) == pytest.approx(expected, rel=1e-12)


def row_values(values: torch.Tensor, batch: Batch) -> np.ndarray:
    """The values of labelled tokens, in order."""
    rows, length = batch.labels.shape
    return np.array([values[r, t] for r in range(rows) for t in range(1, length) if batch.labels[r, t] != IGNORED])


def test_a_limit_on_the_forget_loss(task: CausalLM) -> None:
    """min(m, NLL) a token: one above it is a constant and no longer pushes; the others and the retain set still do."""
    free = {"name": "gradient_difference", "forget_weight": 2.0, "retain_weight": 0.5}
    known = row_nll(task, FORGET)
    limited = free | {"forget_limit": float(known.max() + 0.1)}
    assert loss_of(task, limited) == pytest.approx(loss_of(task, free), rel=1e-12)
    limit = float(np.median(known))
    assert 0 < (known > limit).sum() < len(known)
    expected = -2 * np.minimum(known, limit).mean() + 0.5 * mean_nll(task, RETAIN)
    assert loss_of(task, free | {"forget_limit": limit}) == pytest.approx(expected, rel=1e-12)
    seldom = torch.linspace(0.5, 18, FORGET.labels.numel()).reshape(FORGET.labels.shape)
    per_token = 0.6 * row_values(seldom, FORGET)
    assert 0 < (known > per_token).sum() < len(known)
    known_words = replace(FORGET, signals={"surprise": torch.tensor(row_values(seldom, FORGET))})
    expected = -2 * np.minimum(known, per_token).mean() + 0.5 * mean_nll(task, RETAIN)
    assert loss_of(task, free | {"surprise_share": 0.6}, known_words) == pytest.approx(expected, rel=1e-6)
    expected = -2 * np.minimum(known, np.minimum(per_token, limit)).mean() + 0.5 * mean_nll(task, RETAIN)
    both = free | {"surprise_share": 0.6, "forget_limit": limit}
    assert loss_of(task, both, known_words) == pytest.approx(expected, rel=1e-6)
    kept = gradient(task, free | {"forget_limit": float(known.min() / 2)})  # every token lies above it
    for name, expected_gradient in gradient(task, {"name": "fine_tune"}).items():
        torch.testing.assert_close(kept[name], 0.5 * expected_gradient, rtol=1e-9, atol=1e-14)


def test_unlikelihood(task: CausalLM) -> None:
    """-(1 / |F|) sum log(1 - p); a row above its limit counts nothing."""
    spec = {"name": "gradient_difference", "forget_loss": "unlikelihood", "retain_weight": 0.0, "forget_weight": 2.0}
    known = row_nll(task, FORGET)
    losses = -np.log(1 - np.exp(-known))
    assert loss_of(task, spec) == pytest.approx(2 * losses.mean(), rel=1e-5)
    odds = spec | {"forget_loss": "log_odds"}
    assert loss_of(task, odds) == pytest.approx(2 * (losses - known).mean(), rel=1e-5)
    limit = float(np.median(known))
    expected = 2 * np.where(known < limit, losses, 0).mean()
    assert loss_of(task, spec | {"forget_limit": limit}) == pytest.approx(expected, rel=1e-5)


def test_fine_tuning_is_the_nll_of_what_is_kept(task: CausalLM) -> None:
    assert loss_of(task, {"name": "fine_tune"}) == pytest.approx(mean_nll(task, RETAIN), rel=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_whos_harry_potter_is_the_nll_of_the_generic_labels(task: CausalLM, weight: float) -> None:
    batch = generic(FORGET)
    expected = mean_nll(task, batch) + weight * mean_nll(task, RETAIN)
    spec = {"name": "whos_harry_potter", "retain_weight": weight}
    assert loss_of(task, spec, batch) == pytest.approx(expected, rel=1e-12)
    assert expected != pytest.approx(mean_nll(task, FORGET) + weight * mean_nll(task, RETAIN), rel=1e-3)


def test_whos_harry_potter_with_soft_labels(task: CausalLM) -> None:
    """-(1 / |F|) sum_t sum_k q_k log p(candidate_k | what stands before)."""
    batch = generic(FORGET)
    generator = np.random.default_rng(0)
    ids = np.stack([generator.permutation(190)[:3] for _ in range(batch.ids.numel())]).reshape(*batch.ids.shape, 3)
    weights = generator.dirichlet([1, 1, 1], batch.ids.shape)
    expected = 0.0
    for row, length in enumerate(batch.lengths.tolist()):
        with torch.no_grad():
            log_p = log_softmax(task.model(batch.ids[row : row + 1, :length]).logits[0].numpy())
        for t in range(1, length):
            if batch.labels[row, t] != IGNORED:
                expected -= (weights[row, t] * log_p[t - 1, ids[row, t]]).sum() / batch.normaliser
    soft = replace(batch, soft_ids=torch.from_numpy(ids), soft_weights=torch.from_numpy(weights))
    spec = {"name": "whos_harry_potter", "retain_weight": 0.0, "top_k": 3}
    assert loss_of(task, spec, soft) == pytest.approx(expected, rel=1e-12)


def known_before(task: CausalLM, batch: Batch, change: float = 0.0) -> Batch:
    """The batch with likelihoods of a model that knew the examples better or worse, each by another amount."""
    apart = change * np.arange(1, len(batch.ids) + 1)
    return replace(batch, signals={"reference_nll": torch.from_numpy(example_nll(task, batch) + apart)})


@pytest.mark.parametrize(("beta", "alpha"), [(0.1, 1.0), (2.0, 0.3), (0.5, 0.0)])
def test_npo(task: CausalLM, beta: float, alpha: float) -> None:
    """-(2 / beta) mean log sigmoid(-beta log(p / p_ref)) + alpha NLL of the retain set."""
    batch = known_before(task, FORGET, 0.8)
    log_ratio = batch.signals["reference_nll"].numpy() - example_nll(task, FORGET)
    expected = -2 / beta * log_sigmoid(-beta * log_ratio).mean() + alpha * mean_nll(task, RETAIN)
    spec = {"name": "npo", "beta": beta, "retain_weight": alpha}
    assert loss_of(task, spec, batch) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("beta", "gamma", "weight", "alpha"), [(4.5, 0.0, 0.125, 1.0), (2.5, 1.5, 1.0, 0.0)])
def test_simnpo(task: CausalLM, beta: float, gamma: float, weight: float, alpha: float) -> None:
    """-(2 / beta) mean log sigmoid(beta (-log p / |y| - gamma)), |y| being each example's labelled tokens."""
    lengths = (FORGET.labels[:, 1:] != IGNORED).sum(1).numpy()
    inner = beta * (example_nll(task, FORGET) / lengths - gamma)
    expected = -2 / beta * weight * log_sigmoid(inner).mean() + alpha * mean_nll(task, RETAIN)
    spec = {"name": "simnpo", "beta": beta, "gamma": gamma, "forget_weight": weight, "retain_weight": alpha}
    assert loss_of(task, spec) == pytest.approx(expected, rel=1e-10)


def test_npo_becomes_gradient_ascent_as_beta_goes_to_zero(task: CausalLM) -> None:
    """Its gradient is the ascent's (on examples' sums), times 2 p^beta / (p^beta + p_ref^beta) of each example."""
    batch = known_before(task, FORGET, 0.8)
    spec = {"name": "npo", "beta": 1e-7, "retain_weight": 0.0}
    rows_an_example = float((FORGET.labels[:, 1:] != IGNORED).sum()) / len(FORGET.ids)
    ascent = gradient(task, {"name": "gradient_ascent"})
    for name, found in gradient(task, spec, forget=batch).items():
        torch.testing.assert_close(found, rows_an_example * ascent[name], rtol=1e-5, atol=1e-7)


def test_npo_lets_go_of_what_is_forgotten(task: CausalLM) -> None:
    """At the reference the gradient is the ascent's; far below it there is next to none."""
    start = gradient(task, {"name": "npo", "beta": 1.0, "retain_weight": 0.0}, forget=known_before(task, FORGET))
    far = known_before(task, FORGET, -40.0)
    end = gradient(task, {"name": "npo", "beta": 1.0, "retain_weight": 0.0}, forget=far)
    largest = max(value.abs().max().item() for value in start.values())
    assert max(value.abs().max().item() for value in end.values()) < 1e-12 * largest
    ascent = gradient(task, {"name": "gradient_ascent"})
    scale = float((FORGET.labels[:, 1:] != IGNORED).sum()) / len(FORGET.ids)
    for name, found in start.items():
        torch.testing.assert_close(found, scale * ascent[name], rtol=1e-7, atol=1e-12)


def test_alpha_zero_removes_the_retain_gradient_exactly(task: CausalLM) -> None:
    ascent = gradient(task, {"name": "gradient_ascent"})
    without = gradient(task, {"name": "gradient_difference", "retain_weight": 0.0})
    assert without.keys() == ascent.keys()
    assert all(torch.equal(without[name], ascent[name]) for name in ascent)
    none_at_hand = gradient(task, {"name": "gradient_difference", "retain_weight": 0.0}, retain=None)
    assert all(torch.equal(none_at_hand[name], ascent[name]) for name in ascent)


SPECS = [
    {"name": "gradient_ascent"},
    {"name": "gradient_difference", "forget_weight": 0.4, "retain_weight": 1.5},
    {"name": "gradient_difference", "forget_limit": 5.3},
    {"name": "gradient_difference", "forget_loss": "unlikelihood", "retain_weight": 0.5},
    {"name": "gradient_difference", "forget_loss": "log_odds", "retain_weight": 0.5, "forget_limit": 6.1},
    {"name": "fine_tune"},
    {"name": "whos_harry_potter", "retain_weight": 0.5},
    {"name": "neggrad_plus", "alpha": 0.6},
    {"name": "npo", "beta": 0.5},
    {"name": "simnpo", "gamma": 0.3, "forget_weight": 1.0},
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_gradients_by_finite_differences(task: CausalLM, spec: dict[str, Any]) -> None:
    forget, retain = known_before(task, FORGET, 0.8), RETAIN
    check_gradient(task, spec, forget, retain)
