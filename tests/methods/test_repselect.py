"""RepSelect against its formula in numpy and float64, at its limits, resumed, and on families of models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from architectures import tiny_model
from expunge.errors import RecipeError, UnchangedError
from expunge.kinds.language.session import LanguageWork
from expunge.methods.repselect import RepSelect, collapsed
from expunge.ops.step_length import longest
from expunge.train.unchanged import must_change
from robust import FORGET, RETAIN, gpt2, gradient, kl, log_p, loss_of, make_work, nll, weights_of

MLP = [f"transformer.h.{layer}.mlp.{part}.weight" for layer in range(2) for part in ("c_fc", "c_proj")]


def matrix(sizes: list[float], shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    """A matrix with these singular values."""
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.normal(size=(side, side)))[0][:, : len(sizes)] for side in shape)
    return torch.from_numpy(left @ np.diag(sizes) @ right.T)


def written_out(gradient: np.ndarray, components: int, of: np.ndarray | None = None) -> np.ndarray:
    """Of each of the leading singular values s_i there is s_min^2 / s_i left; along those of another matrix, both sides."""
    if of is not None:
        left, sizes, right = np.linalg.svd(of, full_matrices=False)
        count = min(components, int((sizes > sizes[0] * max(of.shape) * np.finfo(np.float64).eps).sum()))
        less = np.diag(1 - sizes[count - 1] / sizes[:count])
        inputs = np.eye(of.shape[1]) - right[:count].T @ less @ right[:count]
        outputs = np.eye(of.shape[0]) - left[:, :count] @ less @ left[:, :count].T
        return np.asarray(outputs @ gradient @ inputs)
    left, sizes, right = np.linalg.svd(gradient, full_matrices=False)
    count = min(components, int((sizes > sizes[0] * max(gradient.shape) * np.finfo(np.float64).eps).sum()))
    sizes[:count] = sizes[count - 1] ** 2 / sizes[:count]
    return np.asarray(left @ np.diag(sizes) @ right)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7)])
def test_the_collapse_of_all_directions(shape: tuple[int, int]) -> None:
    given = matrix([9.0, 4.0, 2.0, 1.0, 0.5], shape)
    found = collapsed(given, 512, seed=0)
    np.testing.assert_allclose(found.numpy(), written_out(given.numpy(), 512), atol=1e-12)
    sizes = [0.5**2 / each for each in (9.0, 4.0, 2.0, 1.0, 0.5)]
    np.testing.assert_allclose(np.linalg.svd(found.numpy())[1], sorted(sizes, reverse=True), atol=1e-12)


def test_the_collapse_of_the_leading_ones_leaves_the_others() -> None:
    sizes = [50.0, 20.0, 8.0, 0.1, 0.05, 0.01, 0.005, 0.001]
    given = matrix(sizes, (30, 20))
    found = collapsed(given, 3, seed=5).numpy()
    np.testing.assert_allclose(found, written_out(given.numpy(), 3), atol=1e-4)
    assert torch.equal(collapsed(given, 3, seed=5), collapsed(given, 3, seed=5))
    assert np.linalg.svd(found)[1][0] == pytest.approx(8.0, rel=1e-3)


def test_equal_singular_values_are_not_collapsed() -> None:
    given = matrix([2.0] * 5, (7, 5))
    torch.testing.assert_close(collapsed(given, 512, seed=0), given, rtol=0, atol=1e-13)
    torch.testing.assert_close(collapsed(given, 1, seed=0), given, rtol=0, atol=1e-13)


def test_directions_that_are_rounding_do_not_count() -> None:
    """Of few tokens a gradient has few directions: the least of those that are there is the measure."""
    given = matrix([8.0, 2.0], (6, 5))
    np.testing.assert_allclose(np.linalg.svd(collapsed(given, 512, seed=0).numpy())[1][:2], [2.0, 0.5], atol=1e-12)
    assert not collapsed(torch.zeros(6, 5), 512, seed=0).any()


def test_fused_experts_are_collapsed_each_by_itself() -> None:
    given = torch.stack(
        [matrix([4.0, 1.0], (6, 5)), torch.zeros(6, 5, dtype=torch.float64), matrix([3.0, 2.0], (6, 5), 1)]
    )
    found = collapsed(given, 512, seed=0)
    for one, other in zip(given, found, strict=True):
        torch.testing.assert_close(other, collapsed(one, 512, seed=0), rtol=0, atol=0)


@pytest.mark.parametrize("directions", ["forget", "retain", "forget_and_retain"])
def test_a_run_by_its_formula(directions: str, tmp_path: Path) -> None:
    """W + s C(G) with the gradient that raises the forget loss, s at the limit of the KL divergence."""
    model, other = gpt2(), gpt2()
    before, said = weights_of(model), [log_p(model, block) for block in RETAIN]
    work = make_work(model, tmp_path)
    RepSelect.model_validate({"adversary_epochs": 0, "kl_limit": 0.02, "directions": directions}).apply(work)
    scale = float(work.log.of("round")[-1]["scale"])  # type: ignore[attr-defined]
    retained = gradient(other, lambda: loss_of(other, RETAIN), MLP)
    for name, found in gradient(other, lambda: loss_of(other, FORGET), MLP).items():
        of = {"forget": None, "retain": retained[name], "forget_and_retain": found + retained[name]}[directions]
        expected = before[name] + scale * written_out(found, 512, of)
        np.testing.assert_allclose(model.get_parameter(name).detach().numpy(), expected, rtol=1e-8, atol=1e-10)
    after = weights_of(model)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == set(MLP)
    moved = kl(said, [log_p(model, block) for block in RETAIN])
    assert 0.95 * 0.02 <= moved <= 0.02
    last = work.log.of("round")[-1]  # type: ignore[attr-defined]
    assert last["kl"] == pytest.approx(moved, rel=1e-6)
    assert last["forget_loss"] == pytest.approx(nll(model, FORGET), rel=1e-6)
    assert last["forget_loss"] > nll(other, FORGET)
    assert work.cost().steps == 3


@pytest.mark.parametrize("limit", [1e-4, 0.01, 0.1])
@pytest.mark.parametrize("rounds", [1, 2])
def test_the_limit_holds_and_the_forget_set_is_forgotten(limit: float, rounds: int, tmp_path: Path) -> None:
    model = gpt2()
    was, said = nll(model, FORGET), [log_p(model, block) for block in RETAIN]
    RepSelect(kl_limit=limit, rounds=rounds, adversary_learning_rate=0.5).apply(make_work(model, tmp_path))
    assert 0.95 * limit <= kl(said, [log_p(model, block) for block in RETAIN]) <= limit
    assert nll(model, FORGET) > was
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_the_adapter_recalls_the_forget_set_and_leaves_no_trace(tmp_path: Path) -> None:
    model = gpt2()
    work, before, kinds = make_work(model, tmp_path), weights_of(model), [type(each) for each in model.modules()]
    with_, without = (
        RepSelect(adversary_epochs=epochs, adversary_learning_rate=0.5).forget_gradients(work, work.mlp_weights(), 0)
        for epochs in (1, 0)
    )
    assert any(not torch.allclose(with_[name], without[name]) for name in MLP)
    assert [type(each) for each in model.modules()] == kinds
    after = weights_of(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_limit_of_nothing_changes_next_to_nothing(tmp_path: Path) -> None:
    model = gpt2()
    before = weights_of(model)
    RepSelect(kl_limit=1e-10).apply(make_work(model, tmp_path))
    assert max(np.abs(before[name] - each).max() for name, each in weights_of(model).items()) < 1e-3


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("event", "count"), [("round", 1), ("scale_tried", 2), ("round", 2), ("scale_tried", 6), ("round", 3)]
)
def test_an_interrupted_run_ends_with_the_same_bits(event: str, count: int, tmp_path: Path) -> None:
    method = RepSelect(rounds=2)
    whole, resumed = gpt2(), gpt2()
    method.apply(make_work(whole, tmp_path, "whole"))
    seen = 0

    def die(name: str, **values: Any) -> None:
        nonlocal seen
        seen += name == event
        if seen == count:
            raise Killed

    with pytest.raises(Killed):
        method.apply(make_work(gpt2(), tmp_path, "killed", log=die))
    torch.manual_seed(99)
    method.apply(make_work(resumed, tmp_path, "killed"))
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name


def test_it_needs_a_retain_set(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="repselect needs a retain set"):
        RepSelect().apply(make_work(gpt2(), tmp_path, retain=None))
    with pytest.raises(RecipeError, match="no weights to train are found") as caught:
        RepSelect(weights="gate_proj").apply(make_work(gpt2(), tmp_path))
    assert caught.value.seen == "layers 0 to 1; weights: gate_proj"


def test_a_model_that_cannot_be_moved_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = make_work(gpt2(), tmp_path)
    monkeypatch.setattr("expunge.kinds.language.watched.Said.divergence", lambda self: math.nan)
    with must_change(work.task.model, "repselect", lambda: work.stays):
        RepSelect().apply(work)
    assert work.stays
    with pytest.raises(UnchangedError), must_change(work.task.model, "repselect"):
        RepSelect().apply(make_work(work.task.model, tmp_path))  # type: ignore[arg-type]


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("factor", [1e-9, 1e-2, 1.0, 1e4])
def test_the_longest_step(power: float, factor: float) -> None:
    at, tried = [0.0], []
    found = longest(
        lambda scale: at.__setitem__(0, scale),
        lambda: factor * at[0] ** power,
        0.01,
        0.05,
        lambda scale, kl: tried.append(scale),
    )
    assert 0.95 * 0.01 <= factor * found**power <= 0.01
    assert len(tried) <= 25
    put, most = at.__setitem__, found / 3
    assert longest(lambda scale: put(0, scale), lambda: factor * at[0] ** power, 0.01, 0.05, most=most) == most
    wider = longest(lambda scale: put(0, scale), lambda: factor * at[0] ** power, 0.01, 0.05, most=3 * found)
    assert 0.95 * 0.01 <= factor * wider**power <= 0.01


@pytest.mark.parametrize("family", ["llama", "opt", "mixtral", "gemma2", "mamba", "gpt_oss", "qwen2_moe"])
def test_families_of_models(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    work: LanguageWork = make_work(model, tmp_path)
    before = weights_of(model)
    names = set(work.mlp_weights())
    was = nll(model, FORGET)
    RepSelect(adversary_learning_rate=0.1).apply(work)
    after = weights_of(model)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == names
    assert nll(model, FORGET) > was
    assert 0.0095 <= work.log.of("round")[-1]["kl"] <= 0.01  # type: ignore[attr-defined]
