"""CIR against its formula in numpy and float64, at its limits, resumed, and on families of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from architectures import tiny_model
from expunge.errors import ModelError, RecipeError
from expunge.methods.cir import CIR, principal, without
from robust import FORGET, RETAIN, gpt2, make_work, nll, weights_of

LAYERS, MIDDLE = 4, (1, 2)
MLP = [f"transformer.h.{layer}.mlp.{part}.weight" for layer in range(3) for part in ("c_fc", "c_proj")]
LOOSE = {"retain_limit": 100.0, "first_layer": 0.25, "last_layer": 0.75}


def run(model: PreTrainedModel, block: list[int]) -> tuple[dict[str, Any], torch.Tensor]:
    """(what each MLP matrix was given and made, and what each MLP returned; hidden states after three layers)."""
    seen: dict[str, Any] = {}

    def note(name: str) -> Any:
        return lambda _module, given, output: seen.__setitem__(name, (given[0], output))

    hooks = [
        module.register_forward_hook(note(name))
        for name, module in model.named_modules()
        if name.endswith(("c_fc", "c_proj", "mlp"))
    ]
    states = model(input_ids=torch.tensor([block]), use_cache=False, output_hidden_states=True).hidden_states[3]
    for hook in hooks:
        hook.remove()
    return seen, states[0]


def gathered(model: PreTrainedModel, first: PreTrainedModel, blocks: list[list[int]]) -> tuple[float, dict[str, Any]]:
    """(L, a and g of each matrix) of the blocks of a batch, all tokens but the first of each."""
    runs = [run(model, block)[0] for block in blocks]
    was = [run(first, block)[0] for block in blocks]
    total = torch.zeros((), dtype=torch.float64)
    for layer in MIDDLE:
        name = f"transformer.h.{layer}.mlp"
        m, m0 = (torch.cat([each[name][1][0, 1:] for each in of]) for of in (runs, was))
        m0 = m0.detach()
        size = np.linalg.norm(m0.numpy(), axis=1).mean()
        total = total + torch.relu((m * m0).sum(1) / size**2).mean() / len(MIDDLE)
    found = {}
    for name in MLP:
        module = name.removesuffix(".weight")
        g = torch.autograd.grad(total, [each[module][1] for each in runs], retain_graph=True)
        a = np.concatenate([each[module][0][0, 1:].detach().numpy() for each in runs])
        found[name] = a, np.concatenate([each[0, 1:].numpy() for each in g])
    return total.item(), found


def taken_out(rows: np.ndarray, of: np.ndarray, count: int) -> np.ndarray:
    """Rows less the direction of the mean of `of`, then less its principal components."""
    count = min(count, of.shape[1] // 4, len(of))
    mean = of.mean(0) / np.linalg.norm(of.mean(0))
    components = np.linalg.svd(of - of.mean(0), full_matrices=False)[2][: count - 1]
    for each in [mean, *components]:
        rows = rows - np.outer(rows @ each, each)
    return rows


def put(model: PreTrainedModel, change: dict[str, np.ndarray], rate: float) -> None:
    for name, value in change.items():
        model.get_parameter(name).data -= rate * torch.from_numpy(value)


def written_out(model: PreTrainedModel, method: CIR, epochs: list[list[tuple[list[int], list[int]]]]) -> list[float]:
    """Steps for each pair of batches, of blocks of either set; the mean L of each epoch."""
    first, losses = gpt2(LAYERS), []
    for pairs in epochs:
        of = [gathered(model, first, [FORGET[row] for row in forget])[1] for forget, _ in pairs]
        stats = {name: [np.concatenate([each[name][side] for each in of]) for side in (0, 1)] for name in MLP}
        found = []
        for forget, retain in pairs:
            loss, seen = gathered(model, first, [FORGET[row] for row in forget])
            found.append(loss)
            delta = {}
            for name, (a, g) in seen.items():
                a = taken_out(a, stats[name][0], method.activation_components)
                g = taken_out(g, stats[name][1], method.gradient_components)
                delta[name] = a.T @ g  # GPT-2's matrices lie the other way round
            put(model, delta, method.update_norm / np.sqrt(sum((each**2).sum() for each in delta.values())))
            blocks = [RETAIN[row] for row in retain]
            h, h0 = (torch.cat([run(each, block)[1] for block in blocks]) for each in (model, first))
            h0 = h0.detach()
            moved = (h - h0).norm(dim=1).sum() / h0.norm(dim=1).sum()
            g = torch.autograd.grad(moved, [model.get_parameter(name) for name in MLP])
            put(model, {n: each.numpy() for n, each in zip(MLP, g, strict=True)}, method.retain_learning_rate)
        losses.append(float(np.mean(found)))
    return losses


def test_a_run_by_its_formula(tmp_path: Path) -> None:
    method = CIR(
        epochs=2, activation_components=3, gradient_components=2, update_norm=0.1, retain_learning_rate=0.02, **LOOSE
    )
    model, other = gpt2(LAYERS), gpt2(LAYERS)
    work = make_work(model, tmp_path)
    assert work.retain is not None
    sets = work.drawn(work.forget, "cir forget"), work.drawn(work.retain, "cir retain")
    batches = [(sets[0].order.batch(at), sets[1].order.batch(at)) for at in range(6)]
    losses = written_out(other, method, [batches[:3], batches[3:]])
    before = weights_of(model)
    method.apply(work)
    after, expected = weights_of(model), weights_of(other)
    for name in MLP:
        np.testing.assert_allclose(after[name], expected[name], rtol=1e-6, atol=1e-8)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == set(MLP)
    rows = work.log.of("phase_step")  # type: ignore[attr-defined]
    assert [row["forget_loss"] for row in rows] == pytest.approx(losses, rel=1e-6)
    assert rows[1]["forget_loss"] < rows[0]["forget_loss"]


def test_what_is_taken_out_is_gone_and_nothing_else() -> None:
    generator = np.random.default_rng(0)
    rows = torch.from_numpy(generator.normal(size=(50, 40)) * np.linspace(9, 0.1, 40) + 3)
    components = principal(rows, 6)
    assert components.shape == (6, 40)
    torch.testing.assert_close(components.norm(dim=1), torch.ones(6, dtype=torch.float64))
    centred = torch.from_numpy(np.linalg.svd((rows - rows.mean(0)).numpy())[2][:5])
    torch.testing.assert_close((components[1:] @ centred.T).abs(), torch.eye(5, dtype=torch.float64), atol=1e-5, rtol=0)
    assert (without(rows, components) @ components[1:].T).abs().max() < 1e-9
    torch.testing.assert_close(without(rows, principal(rows, 0)), rows)
    assert principal(rows, 999).shape == (10, 40), "at most a quarter of the dimensions"
    assert principal(rows[:2], 9).shape[0] == 2
    orthogonal = without(torch.randn(7, 40, dtype=torch.float64), components[1:])
    torch.testing.assert_close(without(orthogonal, components[1:]), orthogonal)


@pytest.mark.parametrize(
    ("depth", "expected"), [(16, (6, 12)), (30, (11, 22)), (2, (1, 2)), (1, (0, 1)), (32, (12, 24))]
)
def test_the_middle_layers(depth: int, expected: tuple[int, int]) -> None:
    assert CIR().middle(depth) == range(*expected)


def test_a_step_of_next_to_nothing_changes_next_to_nothing(tmp_path: Path) -> None:
    model = gpt2()
    before = weights_of(model)
    CIR(epochs=2, update_norm=1e-9, retain_learning_rate=0).apply(make_work(model, tmp_path))
    assert 0 < max(np.abs(before[name] - value).max() for name, value in weights_of(model).items()) < 6e-9


@pytest.mark.parametrize("limit", [1e-5, 1e-3])
def test_the_limit_of_the_retain_loss_holds(limit: float, tmp_path: Path) -> None:
    model = gpt2(LAYERS)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):  # a model that knows the retain set has something to lose
        optimizer.zero_grad()
        sum(model(input_ids=torch.tensor([b]), labels=torch.tensor([b])).loss for b in RETAIN).backward()
        optimizer.step()
    model.zero_grad()
    trained, before = weights_of(model), nll(model, RETAIN)
    work = make_work(model, tmp_path)
    CIR(epochs=30, update_norm=1.0, retain_limit=limit).apply(work)
    assert nll(model, RETAIN) <= before * (1 + limit) * (1 + 1e-9)
    assert work.cost().stopped == "the limit of the retain loss (method.retain_limit) is reached"
    assert 0 < work.log.of("phase_step")[-1]["share"] < 1  # type: ignore[attr-defined]
    assert any(not np.array_equal(trained[name], value) for name, value in weights_of(model).items())


class Killed(BaseException):
    pass


@pytest.mark.parametrize("count", [1, 2])
def test_an_interrupted_run_ends_with_the_same_bits(count: int, tmp_path: Path) -> None:
    method = CIR(epochs=3, **LOOSE)
    whole, resumed = gpt2(LAYERS), gpt2(LAYERS)
    method.apply(make_work(whole, tmp_path, "whole"))
    seen = 0

    def die(event: str, **values: Any) -> None:
        nonlocal seen
        seen += event == "phase_step"
        if seen > count:
            raise Killed

    with pytest.raises(Killed):
        method.apply(make_work(gpt2(LAYERS), tmp_path, "killed", log=die))
    torch.manual_seed(99)
    work = make_work(resumed, tmp_path, "killed")
    method.apply(work)
    assert [row["step"] for row in work.log.of("phase_resumed")] == [count]  # type: ignore[attr-defined]
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name


def test_what_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cir needs a retain set"):
        CIR().apply(make_work(gpt2(), tmp_path, retain=None))
    with pytest.raises(ModelError, match="have no linear layers") as caught:
        CIR().apply(make_work(tiny_model("mixtral"), tmp_path))
    assert "repselect" in str(caught.value.next_step)


@pytest.mark.parametrize("family", ["llama", "opt", "gemma2", "phi", "falcon", "qwen2_moe"])
def test_families_of_models(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    work = make_work(model, tmp_path)
    before = weights_of(model)
    names = {name for name in work.mlp_weights() if model.get_parameter(name).dim() == 2}
    CIR(epochs=2, **LOOSE | {"last_layer": 1.0}).apply(work)
    after = weights_of(model)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == names
    rows = work.log.of("phase_step")  # type: ignore[attr-defined]
    assert rows[1]["forget_loss"] < rows[0]["forget_loss"]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
