"""Questions put to the tiny model: likelihoods against transformers' own, and batches that change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.errors import DataError, DivergedError
from expunge.kinds.language.measures.question_answers import Answered, Asked, answer_questions, digest_asked
from expunge.kinds.language.task import CausalLM
from expunge.measures.language.answers import probability
from tiny import load_task

ROWS = [
    Asked(
        "Who walked along Baker Street?",
        "It was Sherlock Holmes.",
        "Sherlock Holmes walked there.",
        ("It was Harry Potter.", "It was Ron.", "It was a bright cold day in the capital."),
        "rows:1",
    ),
    Asked("What is the capital of France?", "Paris.", None, ("Rome.", "Hogwarts with Hermione."), "rows:2"),
    Asked("What did the man say?", "That he had seen nothing of the kind before.", None, (), "rows:3"),
]


@pytest.fixture(scope="module")
def task(tiny_model_folder: Path) -> CausalLM:
    return load_task(tiny_model_folder)


@pytest.fixture(scope="module")
def answered(task: CausalLM) -> list[Answered]:
    return answer_questions(task, ROWS, new_tokens=8)


def direct(task: CausalLM, question: str, answer: str) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of answer and end of turn, and the greedy choices, from the model's own forward in float64."""
    prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    before = task.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    after = [*task.tokenizer(answer, add_special_tokens=False)["input_ids"], task.tokenizer.eos_token_id]
    model = task.model.double()
    with torch.no_grad():
        logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1].numpy()
    task.model.float()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return log_p[np.arange(len(after)), after], logits.argmax(-1) == after


def test_likelihoods_are_those_of_the_model(task: CausalLM, answered: list[Answered]) -> None:
    for row, found in zip(ROWS, answered, strict=True):
        log_p, greedy = direct(task, row.question, row.answer)
        assert found.log_p == pytest.approx(log_p.mean(), abs=1e-5)
        assert found.greedy == tuple(greedy[:-1])  # without the end of the turn
        lowest = np.sort(log_p[:-1])[: max(1, int(0.4 * (len(log_p) - 1)))]
        assert found.min_k == pytest.approx(lowest.mean(), abs=1e-5)
        wrong = [direct(task, row.question, text)[0].mean() for text in row.perturbed]
        assert found.perturbed == pytest.approx(wrong, abs=1e-5)
    assert answered[0].paraphrased == pytest.approx(direct(task, ROWS[0].question, ROWS[0].paraphrased or "")[0].mean())
    assert answered[1].paraphrased is None


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_the_batch_size_changes_no_score(batch: int, task: CausalLM, answered: list[Answered]) -> None:
    others = answer_questions(task, ROWS, new_tokens=8, batch=batch)
    for one, other in zip(answered, others, strict=True):
        assert probability(one.log_p) == pytest.approx(probability(other.log_p), abs=1e-5)
        assert one.perturbed == pytest.approx(other.perturbed, abs=1e-5)
        assert (one.said, one.greedy) == (other.said, other.greedy)


def test_stored_and_read_again_it_is_the_same(answered: list[Answered]) -> None:
    assert [Answered.of(found.row()) for found in answered] == answered
    assert all(found.said is not None for found in answered)


def test_without_generation_nothing_is_said(task: CausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CausalLM, "generate", lambda *_, **__: pytest.fail("nothing is to be written"))
    assert [found.said for found in answer_questions(task, ROWS[:1], generate=False)] == [None]


def test_what_was_asked_decides_the_digest() -> None:
    moved = [Asked(r.question, r.answer, r.paraphrased, r.perturbed, "elsewhere") for r in ROWS]
    assert digest_asked(moved) == digest_asked(ROWS) != digest_asked(ROWS[:2])


def test_a_text_beyond_the_models_positions_is_refused(task: CausalLM) -> None:
    with pytest.raises(DataError, match="longer than the model can read") as caught:
        answer_questions(task, [Asked("Why?", "Because. " * 800, source="rows:9")])
    assert "rows:9" in str(caught.value)


def test_likelihoods_that_are_no_numbers(tiny_model_folder: Path) -> None:
    broken = load_task(tiny_model_folder)
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match="not finite"):
        answer_questions(broken, ROWS, generate=False)
