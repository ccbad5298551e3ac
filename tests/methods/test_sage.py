"""SAGE's projection against numpy in float64, at its limits, and that a matrix answers the retain set as before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from expunge.errors import RecipeError
from expunge.kinds.language.layers import matrix_inputs
from expunge.kinds.language.layers.matrix_inputs import main_inputs
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.sage import SAGE, without
from expunge.runs.registry import make_method
from tiny import ignore_log, load_task, random_blocks, write_table

INNER = {"name": "gradient_difference"}
TRAINING = Training(max_steps=3, learning_rate=1e-3, per_device_train_batch_size=2, num_train_epochs=9)


def gpt2() -> CausalLM:
    """Its matrices are stored (inputs, outputs)."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=200, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.2)
    return CausalLM(GPT2LMHeadModel(config).double().eval(), None)  # type: ignore[arg-type]


def llama() -> CausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=200, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32,
    )  # fmt: skip
    return CausalLM(LlamaForCausalLM(config).double().eval(), None)  # type: ignore[arg-type]


@pytest.fixture
def work(tiny_model_folder: Path, tmp_path: Path) -> LanguageWork:
    return work_on(load_task(tiny_model_folder), tmp_path)


def work_on(task: CausalLM, folder: Path) -> LanguageWork:
    return LanguageWork(
        task=task,
        forget=write_table(folder / "forget", random_blocks([12, 9, 12, 10], seed=1)),
        retain=write_table(folder / "retain", random_blocks([11, 12, 8, 11, 12], seed=2)),
        training=TRAINING,
        seed=0,
        checkpoints=folder / "checkpoints",
        log=ignore_log,
    )


def again(work: LanguageWork, task: CausalLM, name: str) -> LanguageWork:
    return replace(work, task=task, trained=[], checkpoints=work.checkpoints / name)


def seen_inputs(task: CausalLM, work: LanguageWork) -> dict[str, np.ndarray]:
    """(tokens, width) what each matrix is given on the retain set, a block at a time."""
    assert work.retain is not None
    kinds = (nn.Linear, type(gpt2().layers[0].mlp.c_fc))
    modules = {f"{name}.weight": m for name, m in task.model.named_modules() if isinstance(m, kinds)}
    rows: dict[str, list[np.ndarray]] = {name: [] for name in modules if ".0." in name or ".1." in name}
    hooks = [
        modules[name].register_forward_pre_hook(lambda _m, given, at=at: at.append(given[0][0].detach().numpy()))
        for name, at in rows.items()
    ]
    for row in range(len(work.retain)):
        with torch.no_grad():
            task.model(torch.tensor([work.retain.ids_of(row)]))
    for hook in hooks:
        hook.remove()
    return {name: np.concatenate(values) for name, values in rows.items()}


@pytest.mark.parametrize("energy", [0.3, 0.9, 0.999])
def test_the_directions_are_the_fewest_that_hold_the_energy(energy: float, tmp_path: Path) -> None:
    work = work_on(llama(), tmp_path)
    found = work.retained_inputs(SAGE(energy=energy).kept, 64)
    inputs = seen_inputs(work.task, work)
    assert found.keys() == inputs.keys()
    assert len(found) == 14
    for name, x in inputs.items():
        _, sizes, vectors = np.linalg.svd(x, full_matrices=False)
        shares = np.cumsum(sizes**2) / np.sum(sizes**2)
        rank = int(np.argmax(shares >= energy)) + 1
        expected = vectors[:rank].T @ vectors[:rank]
        np.testing.assert_allclose((found[name] @ found[name].T).numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("make", [gpt2, llama])
def test_against_a_transcription(make: Callable[[], CausalLM], tmp_path: Path) -> None:
    """W0 + dW (I - P), P from the singular vectors of the original's inputs; all else as the method left it."""
    work = work_on(make(), tmp_path)
    base, inputs = work.weights(), seen_inputs(work.task, work)
    alone = again(work, make(), "alone")
    alone.carry_out(make_method(INNER))
    after = alone.weights()
    work.carry_out(SAGE(of=INNER, rank=5))
    found, untouched = work.weights(), 0
    for name in base:
        if name not in inputs:
            assert torch.equal(found[name], after[name])
            untouched += not torch.equal(after[name], base[name])
            continue
        vectors = np.linalg.svd(inputs[name], full_matrices=False)[2][:5]
        change = (after[name] - base[name]).numpy()
        inputs_last = make is llama
        project = np.eye(vectors.shape[1]) - vectors.T @ vectors
        kept = change @ project if inputs_last else project @ change
        np.testing.assert_allclose(found[name].numpy(), base[name].numpy() + kept, atol=1e-10)
        assert not torch.equal(found[name], base[name])
    assert untouched > 0


def test_with_all_of_the_energy_every_matrix_answers_the_retain_set_as_before(tmp_path: Path) -> None:
    work = work_on(llama(), tmp_path)
    few = replace(work, retain=work.retain.take([0]))  # 11 tokens, in 16 dimensions
    base, inputs = work.weights(), seen_inputs(work.task, few)
    few.carry_out(SAGE(of=INNER, energy=1.0))
    for name, x in inputs.items():
        after, before = few.weights()[name].numpy(), base[name].numpy()
        np.testing.assert_allclose(x @ after.T, x @ before.T, atol=1e-9)
        assert np.abs(after - before).max() > 1e-6


def test_without_energy_it_is_the_method(work: LanguageWork, tiny_model_folder: Path) -> None:
    alone = again(work, load_task(tiny_model_folder), "alone")
    alone.carry_out(make_method(INNER))
    work.carry_out(SAGE(of=INNER, energy=0))
    assert all(torch.equal(value, alone.weights()[name]) for name, value in work.weights().items())
    assert work.cost().steps == alone.cost().steps == 3


def test_the_projection_is_one() -> None:
    generator = torch.Generator().manual_seed(0)
    base, weight = (torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    for inputs_last, width in ((True, 5), (False, 7)):
        directions = torch.linalg.qr(torch.randn(width, 3, generator=generator, dtype=torch.float64)).Q
        once = without(weight, base, directions, inputs_last)
        change = once - base if inputs_last else (once - base).T
        assert float((change @ directions).abs().max()) < 1e-14
        torch.testing.assert_close(without(once, base, directions, inputs_last), once)
        assert float((once - base).norm()) < float((weight - base).norm())


def test_moments_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    work = work_on(llama(), tmp_path)
    assert work.retain is not None
    kept = SAGE(rank=3).kept
    whole = main_inputs(work.task, work.retain, kept)
    monkeypatch.setattr(matrix_inputs, "BYTES", 1)
    parts = main_inputs(work.task, work.retain, kept)
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


def test_what_no_token_reached_has_no_direction() -> None:
    def kept(shares: Tensor) -> int:
        raise AssertionError

    assert matrix_inputs._main(torch.zeros(4, 4), kept).shape == (4, 0)


def test_a_retain_set_of_which_only_drawn_blocks_are_labelled_is_read_whole(work: LanguageWork) -> None:
    assert work.retain is not None

    def unknown(rows: Any) -> Any:
        raise KeyError(rows)

    known = replace(work, retain=work.retain.relabelled(work.retain.take([1]), [1]).with_signal("said", unknown))
    assert known.retained_inputs(SAGE().kept, 3).keys() == work.retained_inputs(SAGE().kept, 3).keys()


class Killed(BaseException):
    pass


def test_killed_anywhere_it_ends_with_the_same_bits(work: LanguageWork, tiny_model_folder: Path) -> None:
    method = SAGE(of=INNER)
    often = replace(work, training=TRAINING.model_copy(update={"probe_steps": 1, "save_seconds": 1e-6}))
    whole = again(often, load_task(tiny_model_folder), "whole")
    whole.carry_out(method)
    for last in (1, 3):

        def stop(step: int, *_: Any, last: int = last) -> None:
            if step == last:
                raise Killed

        with pytest.raises(Killed):
            replace(again(often, load_task(tiny_model_folder), f"{last}"), on_progress=stop).carry_out(method)
        resumed = again(often, load_task(tiny_model_folder), f"{last}")
        resumed.carry_out(method)
        assert all(torch.equal(value, whole.weights()[name]) for name, value in resumed.weights().items())


@pytest.mark.parametrize("of", ["sage", "spunge", "kookmin", {"name": "undo"}])
def test_what_it_cannot_wrap(of: Any) -> None:
    with pytest.raises(RecipeError, match="sage cannot wrap"):
        SAGE(of=of)


def test_it_needs_a_retain_set(work: LanguageWork) -> None:
    with pytest.raises(RecipeError, match="needs a retain set"):
        replace(work, retain=None).carry_out(SAGE(of="gradient_ascent"))
