"""MEOW's loss and its choice of texts by MEMO, written out, at their limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from expunge.errors import RecipeError
from expunge.kinds.language.signals.inverted_facts import memo, rouge_1_precision
from expunge.kinds.language.task import CausalLM
from expunge.methods.meow import MEOW
from expunge.train.step import Step
from known_sets import known_sets
from small_language import FORGET, RETAIN, check_by_finite_differences, loss_of, nll, small_gpt2
from tiny import load_task, make_batch, random_blocks, write_table

INVERTED = make_batch(random_blocks([8, 5], seed=5), first_label=3)
KNOWN = replace(FORGET, signals={"inverted_facts": replace(INVERTED, examples=2.0)})


@pytest.fixture(scope="module")
def task() -> CausalLM:
    return small_gpt2()


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_against_a_transcription(task: CausalLM, alpha: float) -> None:
    expected = np.mean([each.mean() for each in np.split(nll(task, INVERTED), [5])]) + alpha * nll(task, RETAIN).mean()
    assert loss_of(task, MEOW(retain_weight=alpha), KNOWN) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_by_finite_differences(task: CausalLM) -> None:
    step = Step(task, KNOWN, RETAIN)
    names = ("transformer.wte.weight", "transformer.h.1.mlp.c_fc.weight")
    check_by_finite_differences(task, lambda: MEOW(retain_weight=0.5).loss(step).total, names)


@pytest.mark.parametrize(
    ("said", "reference", "share"),
    [([1, 2, 3], [3, 2, 1], 1.0), ([1, 1, 1, 2], [1, 5], 0.25), ([4], [1, 2], 0.0), ([], [1], 0.0)],
)
def test_rouge(said: list[int], reference: list[int], share: float) -> None:
    assert rouge_1_precision(said, reference) == share


def test_memo_written_out(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    [ids] = random_blocks([13], seed=4)
    scores = []
    for cut in (4, 7, 10):
        rest, said = ids[cut : cut + 5], list(ids[:cut])
        while len(said) - cut < len(rest):
            with torch.no_grad():
                said.append(int(task.model(torch.tensor([said])).logits[0, -1].argmax()))
            if said[-1] == task.tokenizer.eos_token_id:
                break
        left, shared = list(rest), 0
        for token in said[cut:]:
            if token in left:
                left.remove(token)
                shared += 1
        scores.append(shared / (len(said) - cut))
    assert memo(task, ids, 4, 3, 5) == pytest.approx(np.mean(scores), abs=1e-12)


def test_what_the_folder_asks_of_generation_has_no_say(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    [ids] = random_blocks([4], seed=4)
    said = task.greedy_tokens([ids], 8)[0]
    task.model.generation_config.suppress_tokens = said
    task.model.generation_config.repetition_penalty = 5.0
    assert memo(task, ids + said, 4, 3, 5) == 1.0


def test_greedy_tokens_of_a_batch_are_those_of_each_alone(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    prompts = random_blocks([9, 3, 6], seed=4)
    whole = task.greedy_tokens(prompts, 6)
    assert whole == [task.greedy_tokens([each], 6)[0] for each in prompts]
    end = whole[0][2]
    task.model.generation_config.eos_token_id = [end]
    stopped = [said[: said.index(end) + 1] if end in said else said for said in whole]
    assert task.greedy_tokens(prompts, 6) == stopped
    assert len(stopped[0]) <= 3


@pytest.mark.parametrize("order", ["smallest", "largest"])
def test_of_each_fact_the_texts_at_one_end_are_trained_on(
    order: Literal["smallest", "largest"], tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, asked = load_task(tiny_model_folder), []
    one, other = random_blocks([9, 7], seed=1)
    forget = write_table(tmp_path / "forget", [one, other, one, one, other])
    wanted = random_blocks([8, 8, 9, 6, 7], seed=3)
    forget.preferred = write_table(tmp_path / "preferred", wanted, first_label=2)
    known = {tuple(text): score for text, score in zip(wanted, (0.3, 0.9, 0.1, 0.2, 0.0), strict=True)}

    def scored(_task: CausalLM, ids: list[int], first: int, stride: int, length: int) -> float:
        asked.append((first, stride, length))
        return known[tuple(ids)]

    monkeypatch.setattr("expunge.kinds.language.signals.inverted_facts.memo", scored)
    retain = write_table(tmp_path / "retain", random_blocks([11], seed=2))
    method = MEOW(top=2, order=order)
    found = known_sets(method, task, forget, retain, tmp_path / "run").forget
    rows = [1, 2, 3, 4] if order == "smallest" else [0, 1, 3, 4]
    assert [found.ids_of(at) for at in range(4)] == [forget.ids_of(row) for row in rows]
    batch = found.batch([2]).signals["inverted_facts"]
    assert batch.ids[0].tolist() == wanted[rows[2]]
    assert asked == [(2, 5, 64)] * 3  # those of the one fact that has more than two


def test_it_needs_pairs(tiny_model_folder: Path, tmp_path: Path) -> None:
    forget = write_table(tmp_path / "forget", random_blocks([9], seed=1))
    with pytest.raises(RecipeError, match="MEOW needs pairs"):
        known_sets(MEOW(), load_task(tiny_model_folder), forget, forget, tmp_path / "run")
