"""The forms in which benchmarks put questions: tokens and likelihoods against transformers' own, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.data.text.document import Document
from expunge.errors import DataError
from expunge.kinds.language.measures.question_answers import Asked, answer_questions, digest_asked, passage
from expunge.kinds.language.measures.question_forms import Form, tokenize
from expunge.kinds.language.task import CausalLM
from tiny import load_task

TEXT = "It was a bright cold day in April, and the man said that he had seen nothing of the kind before."


@pytest.fixture(scope="module")
def task(tiny_model_folder: Path) -> CausalLM:
    return load_task(tiny_model_folder)


def direct(task: CausalLM, ids: Sequence[int], first: int) -> np.ndarray:
    """Log-probabilities of the tokens from `first` on, from the model's own forward in float64."""
    model = task.model.double()
    with torch.no_grad():
        logits = model(torch.tensor([list(ids)])).logits[0].numpy()
    task.model.float()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return np.array([log_p[i - 1, ids[i]] for i in range(first, len(ids))])


def ids_of(task: CausalLM, text: str, special: bool = False) -> list[int]:
    found: list[int] = task.tokenizer(text, add_special_tokens=special)["input_ids"]
    return found


def test_a_passage_is_asked_for_its_own_likelihood(task: CausalLM) -> None:
    (found,) = answer_questions(task, [passage(TEXT, "texts:1")])
    ids = ids_of(task, TEXT, special=True)
    log_p = direct(task, ids, 1)
    assert found.log_p == pytest.approx(log_p.mean(), abs=1e-5)
    assert found.min_k == pytest.approx(np.sort(log_p)[: int(0.4 * len(log_p))].mean(), abs=1e-5)
    assert found.said is None
    with pytest.raises(DataError, match="no two tokens"):
        answer_questions(task, [passage("", "texts:2")])


def test_a_text_is_continued_and_the_true_one_is_cut(task: CausalLM) -> None:
    before, after = "It was a bright cold day", "in April, and the man said that he had seen nothing"
    row = Asked(before, after, source="texts:1", form=Form("text", new_tokens=4, stops=("e",), cut=True))
    (found,) = answer_questions(task, [row])
    given, whole = ids_of(task, before, special=True), ids_of(task, f"{before} {after}", special=True)
    assert whole[: len(given)] == given
    assert found.log_p == pytest.approx(direct(task, whole[: len(given) + 4], len(given)).mean(), abs=1e-5)
    assert found.true == task.tokenizer.decode(whole[len(given) : len(given) + 4])
    assert found.said is not None
    assert "e" not in found.said


def test_a_turn_goes_on_from_its_opening_in_the_chat_form_and_without(task: CausalLM) -> None:
    form = Form("turn", opening="Answer:", new_tokens=3)
    (row,) = tokenize(task.tokenizer, [(form, Document("He.", "Who?\n", "rows:1"))], None)
    asked = ids_of(task, "<|im_start|>user\nWho?\n<|im_end|>\n<|im_start|>assistant\n")
    assert row.ids == asked + ids_of(task, "Answer:") + ids_of(task, " He.")
    assert row.first_label == len(row.ids) - len(ids_of(task, " He."))
    template, task.tokenizer.chat_template = task.tokenizer.chat_template, None
    try:
        (plain,) = tokenize(task.tokenizer, [(form, Document("He.", "Who?\n", "rows:1"))], None)
    finally:
        task.tokenizer.chat_template = template
    assert task.tokenizer.decode(plain.ids, skip_special_tokens=True) == "Who?\nAnswer: He."


def test_what_is_too_long_is_cut_where_it_tells_least(task: CausalLM) -> None:
    (text,) = tokenize(task.tokenizer, [(Form("passage"), Document(TEXT, None, ""))], 8)
    assert text.ids == ids_of(task, TEXT, special=True)[:8]
    (row,) = tokenize(task.tokenizer, [(Form("text"), Document("He left.", TEXT, ""))], 12)
    whole = ids_of(task, f"{TEXT} He left.", special=True)
    assert row.ids == whole[-12:]
    assert row.ids[row.first_label :] == ids_of(task, " He left.")


def test_choices_are_compared_by_their_likelihood(task: CausalLM) -> None:
    (found,) = answer_questions(task, [Asked("Who?\nAnswer:", "B", None, ("A", "C"), "rows:1", Form("choice"))])
    before = ids_of(task, "Who?\nAnswer:", special=True)
    values = [direct(task, before + ids_of(task, f" {letter}"), len(before)).sum() for letter in "BAC"]
    assert [found.log_p, *found.perturbed] == pytest.approx(values, abs=1e-5)
    assert found.said is None


def test_how_a_question_is_put_is_a_part_of_its_digest() -> None:
    plain = Asked("Who?", "He.")
    assert digest_asked([plain]) != digest_asked([Asked("Who?", "He.", form=Form("text"))])
    assert digest_asked([plain]) == digest_asked([Asked("Who?", "He.", source="elsewhere")])
