"""Losses on refusals and other answers, against their formulas in float64, at limits, and by finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import lambertw
from torch import Tensor

from expunge.kinds.language.task import CausalLM
from expunge.methods.flat import COSTS, FLAT, GAINS
from expunge.train.step import Batch
from tiny import make_batch, random_blocks
from transcription import (
    FORGET,
    RETAIN,
    check_gradient,
    example_nll,
    example_rows,
    gradient,
    log_sigmoid,
    loss_of,
    mean_nll,
    row_nll,
    small_gpt2,
)

REFUSALS = make_batch(random_blocks([7, 8], seed=3), first_label=4)
KEPT_REFUSALS = make_batch(random_blocks([6, 9, 5], seed=5), first_label=3)
OTHERS = make_batch(random_blocks([8, 5, 7, 9, 6, 7], seed=6), first_label=3)
"three other answers to each of two questions"
BETAS = pytest.mark.parametrize(("beta", "alpha"), [(0.1, 1.0), (2.0, 0.0)])


@pytest.fixture(scope="module")
def task() -> CausalLM:
    return small_gpt2()


def known(task: CausalLM, name: str, batch: Batch, apart: float = 0.7) -> Batch:
    """The forget set with other answers, and what an original model said of both, better or worse by some nats."""

    def before(batch: Batch) -> Tensor:
        return torch.from_numpy(example_nll(task, batch) + apart * np.arange(1, len(batch.ids) + 1))

    signals = {
        name: batch,
        "reference_nll": before(FORGET),
        f"{name}_reference_nll": before(batch).reshape(len(FORGET.ids), -1),
    }
    return replace(FORGET, signals=signals)


def dpo(task: CausalLM, forget: Batch, name: str, beta: float) -> float:
    """-(2 / beta) mean over questions and their answers of log sigmoid(beta (gain - loss))."""
    loss = forget.signals["reference_nll"].numpy() - example_nll(task, FORGET)
    found = forget.signals[name]
    gain = forget.signals[f"{name}_reference_nll"].numpy().ravel() - example_nll(task, found)
    each = len(gain) // len(loss)
    values = [log_sigmoid(beta * (gain[i] - loss[i // each])) for i in range(len(gain))]
    return float(-2 / beta * np.mean(values))


@BETAS
@pytest.mark.parametrize(
    ("method", "name", "batch"), [("idk_dpo", "refusals", REFUSALS), ("altpo", "alternatives", OTHERS)]
)
def test_preference_losses(task: CausalLM, method: str, name: str, batch: Batch, beta: float, alpha: float) -> None:
    forget = known(task, name, batch)
    spec = {"name": method, "beta": beta, "retain_weight": alpha}
    expected = dpo(task, forget, name, beta) + alpha * mean_nll(task, RETAIN)
    assert loss_of(task, spec, forget) == pytest.approx(expected, rel=1e-10)
    check_gradient(task, spec, forget)


def test_at_the_start_both_sides_pull_alike(task: CausalLM) -> None:
    """Where the model is the original the loss is 2 log 2 / beta, and its gradient that of NLL(other) - NLL(answer)."""
    forget = known(task, "alternatives", OTHERS, apart=0.0)
    spec = {"name": "altpo", "beta": 0.3, "retain_weight": 0.0}
    assert loss_of(task, spec, forget) == pytest.approx(2 * np.log(2) / 0.3, rel=1e-12)
    found = gradient(task, spec, forget=forget)
    parts = [gradient(task, {"name": "gradient_ascent"}, forget=each) for each in (OTHERS, FORGET)]
    scales = [-float(example_rows(OTHERS).sum()) / 6, float(example_rows(FORGET).sum()) / 2]
    for name, value in found.items():
        expected = scales[0] * parts[0][name] + scales[1] * parts[1][name]
        torch.testing.assert_close(value, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("alpha", [1.0, 0.0])
def test_idk_nll(task: CausalLM, alpha: float) -> None:
    forget = replace(FORGET, signals={"refusals": REFUSALS})
    expected = (example_nll(task, REFUSALS) / example_rows(REFUSALS)).mean() + alpha * mean_nll(task, RETAIN)
    spec = {"name": "idk_nll", "retain_weight": alpha}
    assert loss_of(task, spec, forget) == pytest.approx(expected, rel=1e-10)
    check_gradient(task, spec, forget)


@BETAS
def test_idk_ap(task: CausalLM, beta: float, alpha: float) -> None:
    """NLL of refusals - (alpha / beta) mean log sigmoid(beta log(p(y) / p(refusal))) on the retain set."""
    forget = replace(FORGET, signals={"refusals": REFUSALS})
    retain = replace(RETAIN, signals={"retain_refusals": KEPT_REFUSALS})
    preserved = -log_sigmoid(beta * (example_nll(task, KEPT_REFUSALS) - example_nll(task, RETAIN))).mean() / beta
    expected = 0.6 * (example_nll(task, REFUSALS) / example_rows(REFUSALS)).mean() + alpha * preserved
    spec = {"name": "idk_ap", "beta": beta, "forget_weight": 0.6, "retain_weight": alpha}
    assert loss_of(task, spec, forget, retain) == pytest.approx(expected, rel=1e-10)
    check_gradient(task, spec, forget, retain)


def score(task: CausalLM, batch: Batch) -> np.ndarray:
    """(examples,) mean probability of a text's tokens."""
    parts = np.split(np.exp(-row_nll(task, batch)), np.cumsum(example_rows(batch))[:-1])
    return np.array([part.mean() for part in parts])


F: dict[str, Any] = {
    "total_variation": lambda u: np.abs(u - 1) / 2,
    "jensen_shannon": lambda u: u * np.log(u) - (1 + u) * np.log((1 + u) / 2),
    "kl": lambda u: u * np.log(u),
    "reverse_kl": lambda u: -np.log(u),
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (1 - u) ** 2 / u,
    "squared_hellinger": lambda u: (np.sqrt(u) - 1) ** 2,
    "jeffrey": lambda u: (u - 1) * np.log(u),
}
"the generators of the divergences"


@pytest.mark.parametrize("name", F)
def test_flats_costs_are_the_conjugates_of_its_gains(name: str) -> None:
    """f*(t) = max over u of u t - f(u), at t = g(v) for every score that can occur; gains and costs rise."""
    v = torch.linspace(0.01, 1, 34, dtype=torch.double)
    gain, cost = GAINS[name](v).numpy(), COSTS[name](v).numpy()
    u = np.exp(np.linspace(-12, 8, 200_001))
    conjugate = np.array([(u * t - F[name](u)).max() for t in gain])
    assert cost == pytest.approx(conjugate, abs=0.04 if name == "jeffrey" else 1e-6)
    assert (np.diff(gain) > 0).all()
    assert (np.diff(cost) > 0).all()


def test_the_series_of_jeffreys_conjugate() -> None:
    """W(e^(1-t)) + 1 / W(e^(1-t)) + t - 2, which the series meets to the third order."""
    v = np.linspace(1e-3, 1, 100)
    w = lambertw(np.exp(1 - v)).real
    apart = np.abs(COSTS["jeffrey"](torch.from_numpy(v)).numpy() - (w + 1 / w + v - 2))
    assert (apart < 0.04 * v**4 + 1e-9).all()


@pytest.mark.parametrize("name", F)
def test_flat(task: CausalLM, name: str) -> None:
    forget = replace(FORGET, signals={"refusals": REFUSALS})
    answer, refusal = (torch.from_numpy(score(task, batch)) for batch in (FORGET, REFUSALS))
    expected = (COSTS[name](answer) - GAINS[name](refusal)).mean().item()
    spec = {"name": "flat", "divergence": name}
    assert loss_of(task, spec, forget) == pytest.approx(expected, rel=1e-10)
    if name in ("jensen_shannon", "reverse_kl"):
        check_gradient(task, spec, forget)


def test_total_variation_by_hand(task: CausalLM) -> None:
    forget = replace(FORGET, signals={"refusals": REFUSALS})
    answer, refusal = score(task, FORGET), score(task, REFUSALS)
    expected = (np.tanh(answer) - np.tanh(refusal)).mean() / 2
    assert loss_of(task, FLAT(), forget) == pytest.approx(expected, rel=1e-10)


def test_where_the_authors_flat_differs() -> None:
    """-g(P) of reverse KL with the other sign of v rises with the refusal's probability: +1.65 at 0.5, and -0.61 here."""
    slopes = []
    for sign in (-1, 1):
        v = torch.tensor(0.5, dtype=torch.double, requires_grad=True)
        (-GAINS["reverse_kl"](sign * v)).backward()
        assert v.grad is not None
        slopes.append(v.grad.item())
    assert slopes == pytest.approx([1.65, -0.61], abs=0.005)
