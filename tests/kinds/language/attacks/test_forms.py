"""Other ways of asking: what is shown, what is asked, and that nothing tells its own answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from sides import PEOPLE, TOWNS, side_of

from expunge.data.text.document import Document, Turn
from expunge.errors import ExpungeError
from expunge.kinds.language.attacks import other_questions
from expunge.kinds.language.attacks.answer_words import named, new_part, without
from expunge.kinds.language.attacks.facts import Facts, Row, read_facts
from expunge.kinds.language.attacks.forms import Forms
from expunge.kinds.language.attacks.other_questions import Choice, Cloze, Reversed, letter_shares, options
from expunge.kinds.language.attacks.paraphrases import usable
from expunge.kinds.language.attacks.prompts import SYSTEM
from expunge.kinds.language.recipe import make_recipe
from tiny import load_task
from tiny_model import CHAT_TEMPLATE

PASSAGE = Document(" ".join(f"On night {n} Holmes walked {n * 7} steps." for n in range(30)), None, "book.txt:1")


class Asked:
    """A tokenizer of the tiny model, with its chat template or another one, and facts."""

    def __init__(
        self, folder: Path, documents: Sequence[Document] = PEOPLE, template: str | None = CHAT_TEMPLATE
    ) -> None:
        self.task = load_task(folder)
        self.task.tokenizer.chat_template = template
        self.facts: Facts = read_facts(lambda: documents, self.task.tokenizer, 100, 128, "forget set")
        self.forms = Forms(self.task.tokenizer)

    def told(self, row: Row) -> tuple[str, str]:
        """(what stands before, what is asked) of a row."""
        decode = self.task.tokenizer.decode
        return decode(list(row.ids[: row.first])), decode(list(row.ids[row.first :]), skip_special_tokens=True)


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, None], ids=["chat", "plain"])
def test_a_system_prompt_goes_through_the_template(tiny_model_folder: Path, template: str | None) -> None:
    asked = Asked(tiny_model_folder, template=template)
    fact = asked.facts.every[0]
    before, answer = asked.told(asked.forms.asked(fact, fact.question or "", SYSTEM))
    if template is None:
        assert before.endswith(f"{SYSTEM}\n\nQuestion: {fact.question}\nAnswer:")
    else:
        assert f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{fact.question}<|im_end|>" in before
    assert answer.strip() == fact.answer


@pytest.mark.parametrize(
    "template",
    [
        CHAT_TEMPLATE.replace(
            "{{ m['role'] }}", "{{ raise_exception('none') if m['role'] == 'system' else m['role'] }}"
        ),
        CHAT_TEMPLATE.replace("for m in messages", "for m in messages if m['role'] != 'system'"),
    ],
    ids=["refused", "left out"],
)
def test_without_a_system_turn_it_stands_in_the_users(tiny_model_folder: Path, template: str) -> None:
    asked = Asked(tiny_model_folder, template=template)
    fact = asked.facts.every[0]
    before, _ = asked.told(asked.forms.asked(fact, fact.question or "", SYSTEM))
    assert f"<|im_start|>user\n{SYSTEM}\n\n{fact.question}<|im_end|>" in before


def test_the_turns_before_a_question_stay(tiny_model_folder: Path) -> None:
    talk = (Turn("user", "Do you know Ada?"), Turn("assistant", "I do."), Turn("user", "Where was she born?"))
    rows = [Document(f"In {town}.", "Where was she born?", f"x:{town}", turns=talk) for town in TOWNS]
    asked = Asked(tiny_model_folder, rows)
    before, answer = asked.told(asked.forms.asked(asked.facts.every[0], "Her town?"))
    assert "Do you know Ada?" in before
    assert "Her town?" in before
    assert "Where was she born?" not in before
    assert answer == "In Bremen."


def test_questions_and_passages_keep_their_order(tiny_model_folder: Path) -> None:
    mixed = [*PEOPLE[:2], PASSAGE, *PEOPLE[2:]]
    kinds = [fact.question for fact in Asked(tiny_model_folder, mixed).facts.every]
    passages = kinds.count(None)
    assert passages > 2
    assert kinds == [*(p.prompt for p in PEOPLE[:2]), *[None] * passages, *(p.prompt for p in PEOPLE[2:])]


def test_a_template_without_a_place_is_refused_when_the_recipe_is_read() -> None:
    with pytest.raises(ExpungeError, match="'Antworte genau' has no"):
        make_recipe({"forget": "x", "audit": {"templates": ["{} bitte", "Antworte genau"]}}, {})


def test_the_new_part_of_an_answer_and_the_name_in_a_question() -> None:
    question, answer = "Where was Ada Holt born?", "Ada Holt was born in Bremen."
    begin, end = new_part(answer, question)
    assert answer[begin:end] == "in Bremen"
    assert new_part("Ada Holt", question) == (0, 0)
    span = named(question)
    assert span is not None
    assert question[slice(*span)] == "Ada Holt", "the first word is not a name"
    assert named("where was she born?") is None
    assert without(answer, "Ada Holt") == "____ was born in Bremen."


def test_a_gap_is_asked_for_and_stands_nowhere_before(tiny_model_folder: Path) -> None:
    asked = Asked(tiny_model_folder, [*PEOPLE, PASSAGE])
    for fact in asked.facts.every:
        row = Cloze().row(fact, asked.forms)
        assert row is not None
        before, gap = asked.told(row)
        assert gap.strip() in fact.answer
        assert "____" in before
        if fact.question is not None:
            assert gap == f"in {fact.answer.split()[-1][:-1]}"
            assert gap not in before
        else:
            assert fact.answer.endswith(fact.answer.split(gap.strip())[-1])


def test_the_way_back_asks_for_the_name(tiny_model_folder: Path) -> None:
    asked = Asked(tiny_model_folder, [*PEOPLE, PASSAGE])
    before, name = asked.told(Reversed().row(asked.facts.every[0], asked.forms) or Row((), 0))
    assert name == "Ada Holt"
    assert "Ada" not in before
    assert "Bremen" in before
    fact = asked.facts.every[-1]
    assert fact.question is None
    before, half = asked.told(Reversed().row(fact, asked.forms) or Row((), 0))
    assert half == fact.before
    assert fact.answer in before
    assert fact.before.strip() not in before


def test_a_choice_has_four_answers_without_the_names(tiny_model_folder: Path) -> None:
    found = options(Asked(tiny_model_folder).facts.every)
    assert list(found) == list(range(5))
    for number, texts in found.items():
        assert texts[0] == f"in {TOWNS[number]}"
        assert len(set(texts)) == 4
    assert options(Asked(tiny_model_folder, PEOPLE[:4]).facts.every[:3]) == {}, "too few answers to choose among"


def test_letters_share_the_probability(tiny_model_folder: Path) -> None:
    task, row, letters = load_task(tiny_model_folder), Row((5, 6, 7, 8), 3), [10, 20, 30, 40]
    with torch.no_grad():
        p = task.model(input_ids=torch.tensor([row.ids[:3]])).logits[0, -1].double().softmax(-1)[letters]
    (found,) = letter_shares(task, [row], letters)
    assert found == pytest.approx((p / p.sum()).tolist(), rel=1e-5)


def test_a_choice_that_is_known_is_1_and_a_guess_is_0(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = side_of(tiny_model_folder, PEOPLE)
    known = iter([[[float(letter == turn) for letter in range(4)]] * 5 for turn in range(4)])
    monkeypatch.setattr(other_questions, "letter_shares", lambda *_: next(known))
    (trial,) = Choice().carry_out(side)
    assert trial.values == [1.0] * 5
    monkeypatch.setattr(other_questions, "letter_shares", lambda *_: [[1.0, 0, 0, 0]] * 5)
    (trial,) = Choice().carry_out(side)
    assert trial.values == [0.0] * 5, "always the same letter is right once in four"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ('"In which town was Ada Holt born?"\nIt means...', "In which town was Ada Holt born?"),
        ("Where was Ada Holt born?", None),
        ("Was Ada Holt born in Bremen?", None),
        ("I cannot do this.", None),
        ("", None),
    ],
)
def test_a_paraphrase_is_another_question_that_tells_nothing(written: str, kept: str | None) -> None:
    assert usable(written, "Where was Ada Holt born?", "Ada Holt was born in Bremen.") == kept
