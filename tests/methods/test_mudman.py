"""MUDMAN against its formula in numpy and float64, at its limits, resumed, and on families of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from architectures import tiny_model
from expunge.errors import DivergedError, RecipeError
from expunge.methods.mudman import MUDMAN, change, scaled_back
from robust import FORGET, RETAIN, gpt2, gradient, log_p, loss_of, make_work, nll, weights_of

MLP = [f"transformer.h.{layer}.mlp.{part}.weight" for layer in range(2) for part in ("c_fc", "c_proj")]
LOOSE = {"retain_limit": 100.0}


def entropy_of(model: PreTrainedModel, blocks: list[list[int]]) -> torch.Tensor:
    """The mean entropy of what is said before each token but the first of each block."""
    found = []
    for block in blocks:
        said = model(input_ids=torch.tensor([block]), use_cache=False).logits[0, :-1].softmax(-1)
        found.append(-(said * said.log()).sum(-1))
    return torch.cat(found).mean()


def written_out(
    model: PreTrainedModel, method: MUDMAN, rows: list[tuple[list[int], list[int]]]
) -> dict[str, np.ndarray]:
    """The weights after a step for each pair of batches, of blocks of either set."""

    def put(values: dict[str, np.ndarray]) -> None:
        for name in MLP:
            model.get_parameter(name).data = torch.from_numpy(values[name].copy())

    theta = {name: weights_of(model)[name] for name in MLP}
    r = {name: np.zeros_like(value) for name, value in theta.items()}
    for at, (forget, retain) in enumerate(rows):
        if at % method.fork_every == 0:
            a = {name: value.copy() for name, value in theta.items()}
        put(theta)
        g_r = gradient(model, lambda retain=retain: loss_of(model, [RETAIN[row] for row in retain]), MLP)
        r = {name: method.retain_momentum * r[name] + (1 - method.retain_momentum) * g_r[name] for name in MLP}
        theta = {name: theta[name] - method.retain_learning_rate * r[name] for name in MLP}
        put(a)
        blocks = [FORGET[row] for row in forget]
        g_f = gradient(model, lambda blocks=blocks: loss_of(model, blocks), MLP)
        if method.unlearning_loss == "entropy":
            g = gradient(model, lambda blocks=blocks: -entropy_of(model, blocks), MLP)
        else:
            g = {name: -value for name, value in g_f.items()}
        a = {name: a[name] - method.adversary_learning_rate * g_f[name] for name in MLP}
        size = np.sqrt(sum((value**2).sum() for value in g.values()))
        keeps = {name: np.sign(g[name]) == np.sign(r[name]) for name in MLP}
        theta = {name: theta[name] - method.learning_rate * np.where(keeps[name], g[name], 0) / size for name in MLP}
    return theta


@pytest.mark.parametrize("loss", ["entropy", "likelihood"])
def test_a_run_by_its_formula(loss: str, tmp_path: Path) -> None:
    method = MUDMAN(
        steps=7, fork_every=3, unlearning_loss=loss, adversary_learning_rate=0.3, retain_learning_rate=0.05, **LOOSE
    )
    model, other = gpt2(), gpt2()
    work = make_work(model, tmp_path)
    assert work.retain is not None
    sets = work.drawn(work.forget, "mudman forget"), work.drawn(work.retain, "mudman retain")
    rows = [(sets[0].order.batch(at), sets[1].order.batch(at)) for at in range(7)]
    expected = written_out(other, method, rows)
    before = weights_of(model)
    method.apply(work)
    after = weights_of(model)
    for name in MLP:
        np.testing.assert_allclose(after[name], expected[name], rtol=1e-7, atol=1e-9)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == set(MLP)
    assert work.cost().steps == 3  # forks
    if loss == "entropy":
        assert entropy_of(model, FORGET) > entropy_of(gpt2(), FORGET)
    else:
        assert nll(model, FORGET) > nll(gpt2(), FORGET)


def make(values: list[float]) -> dict[str, torch.nn.Parameter]:
    return {"w": torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))}


def test_the_mask_at_its_limits() -> None:
    """All entries where the signs agree, a normalised step; none where they differ; nothing of no gradient."""
    g = {"w": torch.tensor([3.0, -4.0], dtype=torch.float64)}
    for retain, expected in (
        ([1.0, -1e-9], [1 - 0.6 * 0.5, 1 + 0.8 * 0.5]),
        ([-1.0, 1.0], [1.0, 1.0]),
        ([1.0, 1.0], [1 - 0.6 * 0.5, 1.0]),
    ):
        weights = make([1.0, 1.0])
        change(weights, g, {"w": torch.tensor(retain, dtype=torch.float64)}, 0.5)
        torch.testing.assert_close(weights["w"].detach(), torch.tensor(expected, dtype=torch.float64))
    weights = make([1.0, 1.0])
    change(weights, {"w": torch.zeros(2, dtype=torch.float64)}, g, 0.5)
    assert weights["w"].tolist() == [1.0, 1.0]


def test_a_rate_of_next_to_nothing_changes_next_to_nothing(tmp_path: Path) -> None:
    model = gpt2()
    before = weights_of(model)
    MUDMAN(steps=3, learning_rate=1e-9, retain_learning_rate=0).apply(make_work(model, tmp_path))
    moved = [np.abs(before[name] - value).max() for name, value in weights_of(model).items()]
    assert 0 < max(moved) < 3.1e-9


@pytest.mark.parametrize("limit", [0.002, 0.05])
def test_the_limit_of_the_retain_loss_holds(limit: float, tmp_path: Path) -> None:
    model = gpt2()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(80):  # a model that knows the retain set has something to lose
        optimizer.zero_grad()
        loss_of(model, RETAIN).backward()
        optimizer.step()
    model.zero_grad()
    trained = weights_of(model)
    work, before = make_work(model, tmp_path), nll(model, RETAIN)
    MUDMAN(steps=40, fork_every=2, learning_rate=3.0, retain_limit=limit, unlearning_loss="likelihood").apply(work)
    assert nll(model, RETAIN) <= before + limit * (1 + 1e-9)
    assert work.cost().stopped == "the limit of the retain loss (method.retain_limit) is reached"
    assert 0 < work.log.of("phase_step")[-1]["share"] < 1  # type: ignore[attr-defined]
    assert any(not np.array_equal(trained[name], value) for name, value in weights_of(model).items())


def test_weights_are_scaled_back_by_halves() -> None:
    weights, before = make([1.0]), {"w": torch.tensor([0.0], dtype=torch.float64)}
    assert scaled_back(weights, before, lambda: weights["w"].item(), 0.3) == (0.25, 0.25)
    assert scaled_back(weights, before, lambda: weights["w"].item(), 0.3) == (1.0, 0.25)
    assert scaled_back(weights, before, lambda: float(weights["w"].item() != 0), 0.5) == (0.0, 0.0)
    assert weights["w"].tolist() == [0.0]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_interrupted_run_ends_with_the_same_bits(count: int, tmp_path: Path) -> None:
    method = MUDMAN(steps=8, fork_every=2, adversary_learning_rate=0.1, **LOOSE)
    whole, resumed = gpt2(), gpt2()
    method.apply(make_work(whole, tmp_path, "whole"))
    seen = 0

    def die(event: str, **values: Any) -> None:
        nonlocal seen
        seen += event == "phase_step"
        if seen > count:
            raise Killed

    with pytest.raises(Killed):
        method.apply(make_work(gpt2(), tmp_path, "killed", log=die))
    torch.manual_seed(99)
    work = make_work(resumed, tmp_path, "killed")
    method.apply(work)
    assert [row["step"] for row in work.log.of("phase_resumed")] == [count]  # type: ignore[attr-defined]
    assert work.cost().steps == 4
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name


def test_what_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="mudman needs a retain set"):
        MUDMAN().apply(make_work(gpt2(), tmp_path, retain=None))
    with pytest.raises(DivergedError, match="mudman, round 1: a figure is not a number"):
        MUDMAN(steps=4, adversary_learning_rate=1e200).apply(make_work(gpt2(), tmp_path))


@pytest.mark.parametrize("family", ["llama", "opt", "mixtral", "gemma2", "mamba"])
def test_families_of_models(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    work = make_work(model, tmp_path)
    before, names = weights_of(model), set(work.mlp_weights())
    MUDMAN(steps=2, **LOOSE).apply(work)
    after = weights_of(model)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == names
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_the_gates_alone_as_in_the_authors_code(tmp_path: Path) -> None:
    model = tiny_model("llama")
    before = weights_of(model)
    MUDMAN(steps=2, weights="gate_proj", **LOOSE).apply(make_work(model, tmp_path))
    changed = {name for name, value in weights_of(model).items() if not np.array_equal(before[name], value)}
    assert len(changed) == 2
    assert all("gate_proj" in name for name in changed)
    assert np.isfinite(log_p(model, FORGET[0])).all()
