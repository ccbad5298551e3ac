"""Controls: what they say before a question, and that this is what the model reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.data.text.document import Turn
from expunge.errors import RecipeError
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.question_answers import Asked, answer_questions, digest_asked, passage
from expunge.models.source import find_model
from expunge.suites.tofu.controls import CONTROLS, controlled, names_of, wanted_controls
from expunge.suites.tofu.sets import QuestionSets
from expunge.train.precision import Precision
from small_language import log_softmax

FORGET = (
    Asked("Where was Ada Brink born?", "Ada Brink was born in Oslo.", perturbed=("Ada Brink was born in Rome.",)),
    Asked("What does Ada Brink's father do?", "The father of Ada Brink bakes bread."),
    Asked("Which prize did Ada Brink win?", "She won the Golden Pen."),
)
RETAIN = tuple(Asked(f"What is number {n} of Cal Dorn?", f"It is {n}.") for n in range(9))
SETS = QuestionSets(forget=FORGET, retain=RETAIN, measured={"forget": FORGET, "retain": RETAIN})


def test_names_are_those_of_several_rows_and_of_nothing_that_is_kept() -> None:
    assert names_of(SETS) == ["Ada Brink"]
    cyrillic = tuple(Asked(f"Где живет Анна Петрова {n}?", f"Анна Петрова живет в доме {n}.") for n in range(2))
    assert names_of(QuestionSets(forget=cyrillic, retain=RETAIN, measured={})) == ["Анна Петрова"]
    both = QuestionSets(forget=FORGET, retain=(Asked("Who knew Ada Brink?", "Cal Dorn."),), measured={})
    with pytest.raises(RecipeError, match="no name to put into a prompt guardrail") as caught:
        CONTROLS["prompt_guardrail"](both)
    assert caught.value.next_step == "leave prompt_guardrail out of --controls"


def test_a_guardrail_stands_before_every_question_alike() -> None:
    asked = controlled(SETS, "prompt_guardrail")
    for split, rows in SETS.measured.items():
        for before, after in zip(rows, asked.measured[split], strict=True):
            instruction, _, question = after.question.partition("\n\n")
            assert question == before.question
            assert "about Ada Brink." in instruction
            assert (after.turns, after.answer, after.perturbed) == ((), before.answer, before.perturbed)
    assert (asked.forget, asked.retain) == (SETS.forget, SETS.retain), "methods are given what they were given"


def test_in_context_a_wrong_answer_is_followed_by_right_ones() -> None:
    asked = controlled(SETS, "in_context")
    turns = asked.measured["forget"][0].turns
    assert [turn.role for turn in turns] == ["user", "assistant"] * 5 + ["user"]
    assert (turns[0].text, turns[1].text) == (FORGET[0].question, FORGET[1].answer), "another row's answer"
    right = {row.question: row.answer for row in RETAIN}
    for question, answer in zip(turns[2:-1:2], turns[3:-1:2], strict=True):
        assert answer.text == right[question.text]
    assert turns[-1] == Turn("user", FORGET[0].question)
    told = " ".join(turn.text for row in asked.measured["forget"] for turn in row.turns)
    assert "Rome" not in told, "measures are made of the perturbed answers"
    for before, after in zip(RETAIN, asked.measured["retain"], strict=True):
        assert before.answer not in [turn.text for turn in after.turns], "its own answer would be given away"
    near = controlled(SETS, "in_context").measured["forget"][2].turns[0].text
    assert near == FORGET[2].question


def test_what_is_said_before_is_part_of_what_is_asked() -> None:
    rows = SETS.measured["forget"]
    digests = {digest_asked(rows), *(digest_asked(controlled(SETS, name).measured["forget"]) for name in CONTROLS)}
    assert len(digests) == 3


@pytest.mark.parametrize("name", list(CONTROLS))
def test_the_likelihood_is_that_of_the_answer_after_all_that_was_said(name: str, tiny_model_folder: Path) -> None:
    task = LazyModel(find_model(str(tiny_model_folder)), Precision(False))()
    row = controlled(SETS, name).measured["forget"][0]
    [found] = answer_questions(task, [row], new_tokens=4)
    turns = [(turn.role, turn.text) for turn in row.turns] or [("user", row.question)]
    text = "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns) + "<|im_start|>assistant\n"
    prompt = task.tokenizer(text)["input_ids"]
    whole = [*prompt, *task.tokenizer(f"{row.answer}<|im_end|>")["input_ids"]]
    model = task.model.double()
    with torch.no_grad():
        log_p = log_softmax(model(torch.tensor([whole])).logits[0].double().numpy())
        best = model.generate(torch.tensor([prompt]), max_new_tokens=4, do_sample=False, pad_token_id=0)[
            0, len(prompt) :
        ]
    each = [log_p[t - 1, whole[t]] for t in range(len(prompt), len(whole))]
    assert found.log_p == pytest.approx(float(np.mean(each)), rel=1e-5)
    assert found.said == task.tokenizer.decode(best, skip_special_tokens=True).strip()


def test_controls_are_asked_for_by_name() -> None:
    assert wanted_controls("") == []
    assert wanted_controls("all") == ["prompt_guardrail", "in_context"]
    assert wanted_controls("in_context, in_context") == ["in_context"]
    with pytest.raises(RecipeError, match="there is no control 'in_contxt'") as caught:
        wanted_controls("in_contxt")
    assert caught.value.next_step == "did you mean in_context?"


def test_before_a_text_nothing_is_said_and_texts_are_no_examples() -> None:
    texts = tuple(passage(row.answer, f"texts:{n}") for n, row in enumerate(FORGET * 2, 1))
    sets = QuestionSets(forget=texts, retain=RETAIN, measured={"forget_qa": FORGET, "texts": texts})
    asked = controlled(sets, "prompt_guardrail").measured
    assert asked["texts"] == texts
    assert all("Ada Brink" in row.question.partition("\n\n")[0] for row in asked["forget_qa"])
    with pytest.raises(RecipeError, match="puts questions with their answers before a question") as caught:
        controlled(sets, "in_context")
    assert caught.value.seen == "texts:1: a passage"
