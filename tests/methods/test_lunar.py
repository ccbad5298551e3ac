"""LUNAR's closed form against least squares in numpy, its limits, and what it does to a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from expunge.errors import ModelError, RecipeError
from expunge.kinds.language.invented_questions import invented_questions
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.lunar import LUNAR
from small_language import small_gpt2
from tiny import ignore_log, load_task, random_blocks, write_table

QUESTIONS = ("5 9 17 3", "8 41 2")


class Words:
    """A tokenizer of words that are numbers, without a chat form."""

    bos_token_id, eos_token_id, chat_template = 0, 1, None

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}


def work_on(task: CausalLM, folder: Path, first_label: int, log: Callable[..., None] = ignore_log) -> LanguageWork:
    folder.mkdir(exist_ok=True)
    return LanguageWork(
        task=task,
        forget=write_table(folder / "forget", random_blocks([12, 9, 12], seed=1), first_label=first_label),
        retain=write_table(folder / "retain", random_blocks([11, 12, 8], seed=2), first_label=first_label),
        training=Training(),
        seed=0,
        checkpoints=folder / "checkpoints",
        log=log,
    )


def small() -> CausalLM:
    task = small_gpt2()
    return CausalLM(task.model, Words())  # type: ignore[arg-type]


def seen(task: CausalLM, ids: list[int], layer: int) -> tuple[np.ndarray, np.ndarray]:
    """(tokens, inputs) of the last matrix of a layer's MLP, and (tokens, width) the states after it."""
    given: list[torch.Tensor] = []
    module = task.layers[layer - 1].mlp.c_proj
    with module.register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0])), torch.no_grad():
        states = task.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer]
    return given[0][0].numpy(), states[0].numpy()


@pytest.mark.parametrize("first_label", [1, 4])
@pytest.mark.parametrize(("coefficient", "alpha", "ridge"), [(2.0, 1.0, 1e-4), (0.5, 0.3, 0.1), (1.0, 0.0, 1e-2)])
def test_it_is_the_least_squares_solution(
    tmp_path: Path, first_label: int, coefficient: float, alpha: float, ridge: float
) -> None:
    """Rows of both sets, weighted, and of the ridge, in numpy's least squares; of prompts where there are any."""
    task, told = small(), []
    work = work_on(task, tmp_path, first_label, lambda event, **figures: told.append((event, figures)))
    name = "transformer.h.1.mlp.c_proj.weight"
    before = work.weights()
    forget = [seen(task, work.forget.ids_of(row), 2) for row in range(3)]
    prompts = [slice(None) if first_label == 1 else slice(0, first_label)] * 3
    x = np.concatenate([inputs[part] for (inputs, _), part in zip(forget, prompts, strict=True)])
    assert work.retain is not None
    kept = np.concatenate([seen(task, work.retain.ids_of(row), 2)[0] for row in range(3)])
    asked = [seen(task, [int(word) for word in text.split()], 2)[1] for text in QUESTIONS]
    if first_label == 1:
        own, theirs = [h.mean(0) for h in asked], [h.mean(0) for _, h in forget]
    else:
        own, theirs = [h[-1] for h in asked], [h[first_label - 1] for _, h in forget]
    r = np.mean(own, 0) - np.mean(theirs, 0)
    work.carry_out(LUNAR(layer=2, questions=QUESTIONS, coefficient=coefficient, retain_weight=alpha, ridge=ridge))
    count = len(x) + (len(kept) if alpha else 0)
    load = np.sqrt(ridge * (x**2).mean() * count)
    rows = np.concatenate([x, np.sqrt(alpha) * kept, load * np.eye(x.shape[1])])
    wanted = np.zeros((len(rows), 16))
    wanted[: len(x)] = coefficient * r
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0]  # (inputs, width), as GPT-2 stores it
    after = work.weights()
    # States of a block are float32.
    np.testing.assert_allclose((after[name] - before[name]).numpy(), expected, atol=1e-6 * np.abs(expected).max())
    assert {each for each in after if not torch.equal(after[each], before[each])} == {name}
    [figures] = [figures for event, figures in told if event == "redirected"]
    reached = (x @ expected) @ r / (coefficient * r @ r)
    assert figures["forget"] == pytest.approx(reached.mean(), rel=1e-4)
    if alpha:
        moved = np.sqrt(((kept @ expected) ** 2).sum(1).mean()) / (coefficient * np.linalg.norm(r))
        assert figures["retain"] == pytest.approx(moved, rel=1e-4)
    else:
        assert figures["retain"] is None


def test_without_a_retain_set_few_inputs_are_moved_all_the_way(tmp_path: Path) -> None:
    told = []
    work = work_on(small(), tmp_path, 1, lambda event, **figures: told.append(figures))
    few = replace(work, forget=work.forget.take([1]), retain=None)  # 9 tokens, in 64 dimensions
    few.carry_out(LUNAR(layer=2, questions=QUESTIONS, retain_weight=0, ridge=1e-9))
    assert told[-1]["forget"] == pytest.approx(1, abs=1e-3)


def test_where_both_sets_are_one_it_stays_in_between(tmp_path: Path) -> None:
    told = []
    work = work_on(small(), tmp_path, 1, lambda event, **figures: told.append(figures))
    replace(work, retain=work.forget).carry_out(LUNAR(layer=2, questions=QUESTIONS, ridge=1e-9))
    assert told[-1]["forget"] == pytest.approx(0.5, abs=0.02)


def test_it_works_on_llama_and_ends_with_the_same_bits_where_it_was_killed(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    whole = work_on(load_task(tiny_model_folder), tmp_path / "a", 4)
    whole.carry_out(LUNAR(layer=1))
    killed = work_on(load_task(tiny_model_folder), tmp_path / "b", 4)
    put = LanguageWork.put

    def stop(*_: Any) -> None:
        raise Killed

    LanguageWork.put = stop  # type: ignore[method-assign, assignment]
    try:
        with pytest.raises(Killed):
            killed.carry_out(LUNAR(layer=1))
    finally:
        LanguageWork.put = put  # type: ignore[method-assign]
    again = replace(killed, task=load_task(tiny_model_folder))
    again.carry_out(LUNAR(layer=1))
    before, after = load_task(tiny_model_folder).model.state_dict(), whole.weights()
    assert {name for name in after if not torch.equal(after[name], before[name])} == {
        "model.layers.0.mlp.down_proj.weight"
    }
    assert all(torch.equal(again.weights()[name], value) for name, value in after.items())


def test_invented_questions_are_the_same_for_a_seed() -> None:
    questions = invented_questions(3)
    assert questions == invented_questions(3) != invented_questions(4)
    assert len(set(questions)) == 32


def test_what_it_refuses(tmp_path: Path) -> None:
    work = work_on(small(), tmp_path, 1)
    with pytest.raises(RecipeError, match="no such layer"):
        work.carry_out(LUNAR(layer=4, questions=QUESTIONS))
    with pytest.raises(RecipeError, match="needs a retain set"):
        replace(work, retain=None).carry_out(LUNAR(questions=QUESTIONS))
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=200, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    normed = CausalLM(Gemma2ForCausalLM(config).eval(), Words())  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no single matrix at the end of its MLP"):
        replace(work, task=normed).carry_out(LUNAR(layer=1, questions=QUESTIONS))
