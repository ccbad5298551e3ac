"""Losses that look at each token's distribution, against their formulas in float64, at limits, and by finite differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from expunge.kinds.language import distributions
from expunge.kinds.language.distributions import FrozenHead, Original
from expunge.kinds.language.task import CausalLM
from expunge.methods import ceu
from expunge.methods.me_gd import from_uniform, lost_entropy
from expunge.methods.satimp import SatImp
from expunge.methods.undial import UNDIAL
from expunge.methods.wga import WGA
from expunge.runs.registry import method_class
from expunge.train.step import IGNORED, Batch
from known_sets import known_sets
from tiny import make_batch, random_blocks, write_table
from transcription import (
    FORGET,
    RETAIN,
    check_gradient,
    example_rows,
    gradient,
    log_softmax,
    loss_of,
    mean_nll,
    row_log_p,
    row_nll,
    small_gpt2,
)

NO_RETAIN = {"retain_weight": 0.0}


@pytest.fixture(scope="module")
def task() -> CausalLM:
    return small_gpt2()


@pytest.fixture(scope="module")
def original() -> CausalLM:
    return small_gpt2(seed=9)


def known(original: CausalLM, batch: Batch) -> Batch:
    """The batch with what an original model's distributions are made of, in float64."""
    with torch.no_grad():
        states = original.head_inputs(batch)[original.labelled(batch)]
    head = FrozenHead(original.model.get_output_embeddings().weight.detach().clone())
    return replace(batch, signals={"distributions": Original(states, head)})


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], scale: float = 1.0) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, scale * other[name], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(("beta", "gamma", "alpha"), [(1.0, 1.0, 1.0), (2.5, 0.3, 0.0)])
def test_wga(task: CausalLM, beta: float, gamma: float, alpha: float) -> None:
    """-gamma mean p^beta (-log p) + alpha NLL of the retain set."""
    nll = row_nll(task, FORGET)
    expected = -gamma * (np.exp(-nll) ** beta * nll).mean() + alpha * mean_nll(task, RETAIN)
    spec = {"name": "wga", "beta": beta, "forget_weight": gamma, "retain_weight": alpha}
    assert loss_of(task, spec) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("first", "second"), [(5.0, 1.0), (0.5, 2.0)])
def test_satimp(task: CausalLM, first: float, second: float) -> None:
    """-mean p^beta_1 (1 - p)^beta_2 (-log p) + a tenth of the NLL of the retain set."""
    nll = row_nll(task, FORGET)
    p = np.exp(-nll)
    expected = -(p**first * (1 - p) ** second * nll).mean() + 0.1 * mean_nll(task, RETAIN)
    spec = {"name": "satimp", "beta": first, "beta2": second}
    assert loss_of(task, spec) == pytest.approx(expected, rel=1e-10)


def test_weights_at_their_limits(task: CausalLM) -> None:
    """With beta 0 it is ascent; with beta_2 0 SatImp is WGA; what is forgotten or certain does not count."""
    same(gradient(task, {"name": "wga", "beta": 0.0, **NO_RETAIN}), gradient(task, {"name": "gradient_ascent"}))
    one = {"name": "satimp", "beta": 1.7, "beta2": 0.0, "retain_weight": 0.4}
    same(gradient(task, one), gradient(task, {"name": "wga", "beta": 1.7, "retain_weight": 0.4}))
    weights = SatImp(beta=4.0, beta2=1.0).weights(
        -torch.tensor([1e-12, 0.5, 0.8, 0.95, 1 - 1e-12], dtype=torch.double).log()
    )
    assert weights.argmax() == 2, "beta / (beta + beta_2)"
    assert weights[[0, 4]].max() < 1e-11


@pytest.mark.parametrize("spec", [{"name": "wga", "beta": 1.5}, {"name": "satimp", "beta": 0.7, "beta2": 1.0}], ids=str)
def test_the_gradient_of_weighted_ascent_leaves_weights_alone(
    task: CausalLM, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    analytic = gradient(task, spec)
    nll = torch.from_numpy(row_nll(task, FORGET))
    p = (-nll).exp()
    fixed = p ** spec["beta"] * (1 - p) ** spec.get("beta2", 0.0)
    for kind in [*WGA.__subclasses__(), WGA]:
        monkeypatch.setattr(kind, "weights", lambda self, nll: fixed)
    same(analytic, gradient(task, spec))
    check_gradient(task, spec, FORGET)


@pytest.mark.parametrize("skipped", [0, 1, 3])
def test_ceu(task: CausalLM, skipped: int) -> None:
    """-sum over v != y of p_v / (1 - p_y) log p_v, without the first tokens of each answer; over all labelled tokens."""
    log_p, labels = row_log_p(task, FORGET)
    p = np.exp(log_p)
    others = p / (1 - p[np.arange(len(p)), labels])[:, None]
    others[np.arange(len(p)), labels] = 0
    counts = example_rows(FORGET)
    place = np.concatenate([np.arange(count) for count in counts])
    losses = np.where(place >= skipped, -(others * log_p).sum(1), 0)
    assert loss_of(task, {"name": "ceu", "skip_first": skipped}) == pytest.approx(losses.mean(), rel=1e-10)
    spec = {"name": "ceu", "skip_first": skipped, "retain_weight": 0.6}
    assert loss_of(task, spec) == pytest.approx(losses.mean() + 0.6 * mean_nll(task, RETAIN), rel=1e-10)


def test_the_gradient_of_ceu_holds_the_target_fixed(task: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"name": "ceu", "skip_first": 1}
    analytic = gradient(task, spec)
    log_p, labels = row_log_p(task, FORGET)
    others = np.exp(log_p)
    others[np.arange(len(labels)), labels] = 0
    fixed = torch.from_numpy(others / others.sum(1, keepdims=True))
    monkeypatch.setattr(ceu, "without_label", lambda log_p, target: -(fixed * log_p).sum(-1))
    same(analytic, gradient(task, spec))
    check_gradient(task, spec, FORGET)


def test_ceu_pushes_the_true_token_by_its_probability() -> None:
    """Known for certain or long forgotten, the gradient is a number: p at the true logit, as much less for the others."""
    for logit in (-60.0, 0.0, 60.0):
        logits = torch.tensor([[logit, 0.3, -0.2]], dtype=torch.double, requires_grad=True)
        ceu.without_label(logits.log_softmax(-1), torch.tensor([0])).sum().backward()
        assert logits.grad is not None
        p = logits.detach().softmax(-1)[0]
        assert logits.grad[0, 0].item() == pytest.approx(p[0].item(), rel=1e-12)
        assert logits.grad.sum().abs() < 1e-12
        assert logits.grad[0, 1] < 0 or logit < 0


@pytest.mark.parametrize("toward", ["uniform", "entropy"])
def test_me_gd(task: CausalLM, toward: str) -> None:
    """lambda mean KL(u || p), or KL(p || u), + NLL of the retain set; by finite differences."""
    log_p, _ = row_log_p(task, FORGET)
    size = log_p.shape[1]
    apart = (
        (np.log(1 / size) - log_p).mean(1)
        if toward == "uniform"
        else (np.exp(log_p) * (log_p - np.log(1 / size))).sum(1)
    )
    spec = {"name": "me_gd", "toward": toward, "forget_weight": 0.7, "retain_weight": 1.3}
    assert loss_of(task, spec) == pytest.approx(0.7 * apart.mean() + 1.3 * mean_nll(task, RETAIN), rel=1e-10)
    check_gradient(task, spec, FORGET)


def test_maximal_entropy_is_a_minimum() -> None:
    flat = torch.zeros(1, 50, dtype=torch.double).log_softmax(-1)
    sure = torch.full((1, 50), -40.0, dtype=torch.double)
    sure[0, 3] = 40.0
    sure = sure.log_softmax(-1)
    for of, most in ((from_uniform, 80 * 49 / 50 - np.log(50)), (lost_entropy, np.log(50))):
        assert abs(of(flat).item()) < 1e-12
        assert of(sure).item() == pytest.approx(most, rel=1e-9)


@pytest.mark.parametrize(("beta", "alpha"), [(10.0, 0.0), (0.5, 1.3)])
def test_undial(task: CausalLM, original: CausalLM, beta: float, alpha: float) -> None:
    """Cross-entropy with softmax(z_ref - beta onehot(y)), of the original's own forward pass; by finite differences."""
    log_p, labels = row_log_p(task, FORGET)
    logits = row_log_p(original, FORGET)[0]
    logits[np.arange(len(labels)), labels] -= beta
    target = np.exp(log_softmax(logits))
    expected = -(target * log_p).sum(1).mean() + (alpha * mean_nll(task, RETAIN) if alpha else 0)
    spec = {"name": "undial", "beta": beta, "retain_weight": alpha}
    assert loss_of(task, spec, known(original, FORGET)) == pytest.approx(expected, rel=1e-10)
    check_gradient(task, spec, known(original, FORGET))


def test_undial_in_chunks_and_through_files(
    task: CausalLM, original: CausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk of rows has its own labels; what is stored of the original is in float32."""
    expected = loss_of(task, UNDIAL(), known(original, FORGET))
    monkeypatch.setattr(distributions, "CHUNK", 3)
    assert loss_of(task, UNDIAL(), known(original, FORGET)) == pytest.approx(expected, rel=1e-10)
    table = write_table(tmp_path / "forget", random_blocks([9, 6], seed=1))
    stored = known_sets(UNDIAL(), original, table, table, tmp_path / "run").forget.batch([0, 1])
    assert loss_of(task, UNDIAL(), stored) == pytest.approx(expected, rel=2e-5)


def test_undial_has_a_minimum_and_without_beta_it_moves_nothing(original: CausalLM) -> None:
    """At the original, beta 0 has no gradient; with beta the true logit alone is pulled, towards its new share."""
    still = gradient(original, {"name": "undial", "beta": 1e-12}, forget=known(original, FORGET))
    assert max(value.abs().max().item() for value in still.values()) < 1e-10
    log_ref = torch.randn(1, 30, dtype=torch.double).log_softmax(-1)
    lowered = log_ref.clone()
    lowered[0, 4] -= 3.0
    logits = lowered.clone().requires_grad_()
    UNDIAL(beta=3.0).cross_entropy(logits.log_softmax(-1), log_ref, torch.tensor([4])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-12


def peers_undial(task: CausalLM, original: CausalLM, batch: Batch, beta: float) -> float:
    """OpenUnlearning's loss: the mean over all positions, with label -100 as the 100th token from the end."""
    with torch.no_grad():
        log_p, log_ref = (log_softmax(each.model(batch.ids).logits.numpy())[:, :-1] for each in (task, original))
    labels = batch.labels[:, 1:].numpy()
    rows, places = np.indices(labels.shape)
    log_ref[rows, places, labels] -= beta
    return float(-(np.exp(log_softmax(log_ref)) * log_p).sum(-1).mean())


def test_where_openunlearnings_undial_differs(task: CausalLM, original: CausalLM) -> None:
    """It agrees where all is answer; else it unlearns token -100 in prompts. Of 64 and 30 tokens the answer is 32 %."""
    answers = make_batch(random_blocks([20, 20], seed=4), first_label=1)
    ours = loss_of(task, UNDIAL(), known(original, answers))
    assert peers_undial(task, original, answers, 10.0) == pytest.approx(ours, rel=1e-10)
    asked = make_batch(random_blocks([20, 20], seed=4), first_label=14)
    prompts = torch.full_like(asked.labels, IGNORED)
    prompts[:, 1:14] = 100  # of a vocabulary of 200
    rest = replace(asked, labels=prompts, normaliser=26.0)
    parts = [loss_of(task, UNDIAL(), known(original, each)) for each in (asked, rest)]
    assert peers_undial(task, original, asked, 10.0) == pytest.approx((12 * parts[0] + 26 * parts[1]) / 38, rel=1e-10)
    long = make_batch(random_blocks([94, 94]), first_label=64)
    assert (long.labels[:, 1:] != IGNORED).double().mean() == pytest.approx(0.32, abs=0.005)


def test_the_help_of_satimps_weights_is_of_satimp() -> None:
    fields = method_class("satimp").model_fields
    gamma, alpha = fields["forget_weight"], fields["retain_weight"]
    assert gamma.default == pytest.approx(10 * alpha.default)
    for field, value in ((gamma, "0.1"), (alpha, "1")):
        assert "in the paper" in str(field.description)
        assert f"{value} in OpenUnlearning's configuration" in str(field.description)
