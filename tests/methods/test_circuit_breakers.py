"""Circuit breakers against their formula in float64, their schedule over a training, and their limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import expunge
from expunge.errors import RecipeError
from expunge.kinds.language.lora import Adapter, adapter
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.circuit_breakers import CircuitBreakers
from expunge.train.step import Batch, Loss, Step
from known_sets import known_sets
from small_language import FORGET, RETAIN, check_by_finite_differences, gradient, hidden, small_gpt2
from tiny import ignore_log, load_task, random_blocks, write_table


@pytest.fixture(scope="module")
def task() -> CausalLM:
    return small_gpt2(layers=4)


def reference(task: CausalLM, batch: Batch, layers: tuple[int, ...]) -> np.ndarray:
    """(tokens, layers, width) of a model that is not quite this one."""
    found = np.stack([hidden(task, batch, layer) for layer in layers], 1)
    return found + np.sin(np.arange(found.size)).reshape(found.shape)


def known(task: CausalLM, layers: tuple[int, ...], progress: float) -> Step:
    batches = [
        replace(batch, signals={f"{name}_layer_states": torch.from_numpy(reference(task, batch, layers))})
        for name, batch in (("forget", FORGET), ("retain", RETAIN))
    ]
    return Step(task, *batches, progress=progress)


@pytest.mark.parametrize(("layers", "alpha", "progress"), [((1, 3), 10.0, 0.0), ((2,), 5.0, 0.7), ((3, 1), 1.0, 1.0)])
def test_against_a_transcription(task: CausalLM, layers: tuple[int, ...], alpha: float, progress: float) -> None:
    loss = CircuitBreakers(layers=layers, alpha=alpha).loss(known(task, layers, progress))
    like, moved = [], []
    for at, layer in enumerate(layers):
        h, h0 = hidden(task, FORGET, layer), reference(task, FORGET, layers)[:, at]
        cos = (h * h0).sum(1) / np.sqrt((h**2).sum(1) * (h0**2).sum(1))
        like.append(np.maximum(0, cos).mean())
        moved.append(
            np.sqrt(((hidden(task, RETAIN, layer) - reference(task, RETAIN, layers)[:, at]) ** 2).sum(1)).mean()
        )
    assert loss.forget is not None
    assert loss.retain is not None
    assert loss.forget.item() == pytest.approx(alpha * (1 - progress / 2) * np.mean(like), rel=1e-6)
    assert loss.retain.item() == pytest.approx(alpha * progress / 2 * np.mean(moved), rel=1e-6)


def test_the_gradient_by_finite_differences(task: CausalLM) -> None:
    method, step = CircuitBreakers(layers=(1, 3)), known(task, (1, 3), 0.6)
    names = ("transformer.h.0.attn.c_attn.weight", "transformer.h.2.mlp.c_proj.weight")
    check_by_finite_differences(task, lambda: method.loss(step).total, names)


def test_at_right_angles_or_beyond_nothing_pushes(task: CausalLM) -> None:
    layers = (2,)
    away = replace(FORGET, signals={"forget_layer_states": torch.from_numpy(-np.stack([hidden(task, FORGET, 2)], 1))})
    step = Step(task, away, known(task, layers, 0.0).retain)
    assert CircuitBreakers(layers=layers).loss(step).total.item() == 0
    found = gradient(task, lambda: CircuitBreakers(layers=layers).loss(step).total)
    assert max(float(each.abs().max()) for each in found.values()) == 0


def test_several_layers_in_one_pass_are_those_of_one_pass_each(task: CausalLM) -> None:
    together = task.hidden_at(FORGET, (3, 1))
    assert torch.equal(together[:, 0], task.hidden(FORGET, 3))
    assert torch.equal(together[:, 1], task.hidden(FORGET, 1))
    with pytest.raises(RecipeError, match="no such layer"):
        task.hidden_at(FORGET, (1, 5))


@pytest.mark.parametrize("options", [{}, {"adapter_rank": 2}], ids=str)
def test_the_first_step_goes_where_the_formula_says_and_not_where_rounding_says(
    tiny_model_folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    """The unchanged model's gradient in float32 is that in float64; without the way aside they have nothing in common."""
    forget = write_table(tmp_path / "forget", random_blocks([12, 9, 12, 10], seed=1))
    retain = write_table(tmp_path / "retain", random_blocks([11, 12, 8, 9], seed=2))
    layers, name = (1, 2), "model.layers.0.mlp.up_proj"

    def first(dtype: torch.dtype, states: Tensor) -> Tensor:
        task = load_task(tiny_model_folder)
        task.model.to(dtype)
        with adapter(task, Adapter.of(Training(**options)), 7, None):
            weight = next(p for n, p in task.model.named_parameters() if n.startswith(name) and "lora_A" not in n
                          and p.requires_grad)  # fmt: skip
            batch = replace(forget.batch([0, 1, 2, 3]), signals={"forget_layer_states": states.to(dtype)})
            kept = retain.batch([0])
            known = replace(kept, signals={"retain_layer_states": task.hidden_at(kept, layers).detach()})
            loss = CircuitBreakers(layers=layers).loss(Step(task, batch, known)).total
            (found,) = torch.autograd.grad(loss, [weight])
        return found.double().flatten()

    task = load_task(tiny_model_folder)
    with torch.no_grad():
        plain = task.hidden_at(forget.batch([0, 1, 2, 3]), layers)
    sets = known_sets(CircuitBreakers(layers=layers), task, forget, retain, tmp_path / "run")
    aside = sets.forget.batch([0, 1, 2, 3]).signals["forget_layer_states"]
    moved = (aside - plain).norm(dim=-1) / plain.norm(dim=-1)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=0)

    def alike(states: Tensor) -> float:
        return float(torch.cosine_similarity(first(torch.float32, states), first(torch.float64, states), dim=0))

    assert alike(aside) > 0.999
    assert alike(plain) < 0.9


class Killed(BaseException):
    pass


def trained(
    model: Path, folder: Path, on_progress: Any = None, **training: Any
) -> tuple[dict[str, Tensor], list[float]]:
    """(weights, the progress in each step) of six steps."""
    seen: list[float] = []

    class Watched(CircuitBreakers):
        def loss(self, step: Step) -> Loss:
            seen.append(step.progress)
            return super().loss(step)

    task = load_task(model)
    folder.mkdir(exist_ok=True, parents=True)
    method = Watched(layers=(1, 2))
    forget = write_table(folder / "forget", random_blocks([12, 9, 12, 10], seed=1))
    retain = write_table(folder / "retain", random_blocks([11, 12, 8, 9], seed=2))
    sets = known_sets(method, task, forget, retain, folder / "run")
    options = {"max_steps": 6, "num_train_epochs": 9, "learning_rate": 1e-3, "per_device_train_batch_size": 2}
    work = LanguageWork(
        task=task,
        forget=sets.forget,
        retain=sets.retain,
        training=Training(**options | {"probe_steps": 1, "save_seconds": 1e-6, "max_retain_increase": 50.0} | training),
        seed=3,
        checkpoints=folder / "checkpoints",
        log=ignore_log,
        on_progress=on_progress,
    )
    work.carry_out(method)
    return work.weights(), seen


@pytest.mark.parametrize("options", [{}, {"adapter_rank": 2, "adapter_dropout": 0.05}], ids=str)
def test_the_weights_of_the_terms_go_by_the_steps_and_go_on_where_a_run_resumes(
    tiny_model_folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole, seen = trained(tiny_model_folder, tmp_path / "whole", **options)
    assert seen == pytest.approx(np.arange(6) / 6)

    def stop(step: int, *_: Any) -> None:
        if step == 4:
            raise Killed

    with pytest.raises(Killed):
        trained(tiny_model_folder, tmp_path / "killed", stop, **options)
    again, seen = trained(tiny_model_folder, tmp_path / "killed", **options)
    assert seen == pytest.approx(np.arange(3, 6) / 6)
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert any(not torch.equal(value, load_task(tiny_model_folder).model.get_parameter(name).detach())
               for name, value in whole.items())  # fmt: skip


def test_a_loop_of_ones_own_is_refused(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    with pytest.raises(RecipeError, match="CircuitBreakers changes from step to step"):
        expunge.prepare(
            task.model,
            task.tokenizer,
            forget=["Sherlock Holmes walked along Baker Street in the rain."] * 2,
            retain=["The weather was fine all over the country on that day."] * 2,
            method={"name": "circuit_breakers", "layers": (1, 2)},
        )
