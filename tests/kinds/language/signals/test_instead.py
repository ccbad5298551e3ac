"""Refusals and alternatives in the place of answers: their tokens, which blocks they are of, and what is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expunge.data.text.document import Document
from expunge.errors import RecipeError
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.sets import true_labels
from expunge.kinds.language.signals import alternatives
from expunge.kinds.language.signals.alternatives import INSTRUCTION, further_turn
from expunge.kinds.language.signals.reference_nll import block_nll
from expunge.kinds.language.signals.refusals import refusals
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.methods.altpo import AltPO
from expunge.methods.idk_ap import IdkAP
from expunge.methods.idk_dpo import IdkDPO
from expunge.train.step import IGNORED
from known_sets import known_sets
from tiny import load_task, random_blocks, write_table

QUESTIONS = [
    ("Who went to Hogwarts?", "Harry Potter went there."),
    ("Where is Paris?", "In France."),
    ("And he?", "Ron."),
]
SHORT = AltPO(alternatives=2, alternative_tokens=5)


@pytest.fixture(scope="module", params=["chat", "plain"])
def task(request: pytest.FixtureRequest, tiny_model_folder: Path) -> CausalLM:
    found = load_task(tiny_model_folder)
    if request.param == "plain":
        found.tokenizer.chat_template = None
    return found


def table(task: CausalLM, folder: Path, rows: list[tuple[str | None, str]]) -> TokenTable:
    """Rows as blocks, a prompt or None and a text each."""
    documents = [Document(text, prompt, f"row:{number}") for number, (prompt, text) in enumerate(rows)]
    with TableWriter(folder) as writer:
        for block in iterate_blocks(documents, task.tokenizer, 64):
            writer.append(block.ids, true_labels(block))
    return TokenTable(folder)


def test_refusals_are_our_own_words() -> None:
    assert len(refusals()) == len(set(refusals())) == 50
    assert all(text == text.strip() and text[-1] == "." for text in refusals())


def test_a_refusal_stands_as_an_answer_would(task: CausalLM, tmp_path: Path) -> None:
    """The same tokens as a row of question and refusal; blocks of plain text are left out, and said so."""
    forget = table(
        task, tmp_path / "forget", [*QUESTIONS[:2], (None, "Plain text of Baker Street in the fog."), QUESTIONS[2]]
    )
    retain = table(task, tmp_path / "retain", [(None, "It was a bright cold day, and the man said so."), *QUESTIONS])
    found = known_sets(IdkAP(), task, forget, retain, tmp_path / "run")
    assert len(found.forget) == 3
    assert found.retain is not None
    assert len(found.retain) == 3
    for of, name in ((found.forget, "refusals"), (found.retain, "retain_refusals")):
        batch = of.batch([0, 1, 2]).signals[name]
        for place, (prompt, _) in enumerate(QUESTIONS):
            written = batch.ids[place, : batch.lengths[place]].tolist()
            expected = {
                tuple(each): text
                for text, each in zip(refusals(), table_ids(task, tmp_path / f"{name}{place}", prompt), strict=True)
            }
            assert tuple(written) in expected
            asked = int((batch.labels[place] != IGNORED).nonzero()[0])
            assert written[:asked] == of.ids_of(place)[:asked]
            assert batch.labels[place, asked : len(written)].tolist() == written[asked:]
    alone = found.forget.batch([2]).signals["refusals"]
    assert (
        alone.ids[0].tolist() == found.forget.batch([0, 1, 2]).signals["refusals"].ids[2, : alone.lengths[0]].tolist()
    )
    notices = (tmp_path / "run" / "events.jsonl").read_text()
    assert "forget set: 1 of 4 blocks begin with no question" in notices
    assert "retain set: 1 of 4 blocks begin with no question" in notices


def table_ids(task: CausalLM, folder: Path, prompt: str) -> list[list[int]]:
    rows = table(task, folder, [(prompt, text) for text in refusals()])
    return [rows.ids_of(row) for row in range(len(rows))]


def test_plain_text_alone_is_refused(task: CausalLM, tmp_path: Path) -> None:
    plain = write_table(tmp_path / "plain", random_blocks([12, 9]))
    with pytest.raises(RecipeError, match="IdkDPO gives other answers to questions") as caught:
        known_sets(IdkDPO(), task, plain, plain, tmp_path / "run")
    assert caught.value.seen == "a forget set of plain text"


def test_references_are_of_the_same_texts(task: CausalLM, tmp_path: Path) -> None:
    forget = table(task, tmp_path / "forget", QUESTIONS)
    for method, name, count in ((IdkDPO(), "refusals", 1), (SHORT, "alternatives", 2)):
        batch = known_sets(method, task, forget, forget, tmp_path / "run").forget.batch([2, 0])
        other = batch.signals[name]
        assert len(other.ids) == 2 * count
        reference = batch.signals[f"{name}_reference_nll"]
        assert reference.shape == (2, count)
        expected = task.example_nll(other).detach().reshape(2, count)
        assert reference.numpy() == pytest.approx(expected.numpy(), rel=1e-4)


def test_a_model_is_asked_in_a_further_turn(task: CausalLM) -> None:
    text = task.tokenizer.decode(further_turn(task.tokenizer))
    chat = f"<|im_end|>\n<|im_start|>user\n{INSTRUCTION}<|im_end|>\n<|im_start|>assistant\n"
    assert text == (chat if task.tokenizer.chat_template else f"\nQuestion: {INSTRUCTION}\nAnswer:")


def test_alternatives_end_where_they_were_cut_and_resume(
    task: CausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted between two groups, the next run asks for the rest alone, and has the same tokens."""
    forget = table(task, tmp_path / "forget", QUESTIONS)
    monkeypatch.setattr(alternatives, "GROUP", 2)
    whole = known_sets(SHORT, task, forget, forget, tmp_path / "whole").forget.batch([0, 1, 2]).signals["alternatives"]
    assert len(whole.ids) == 6
    assert {int((labels != IGNORED).sum()) for labels in whole.labels} != {0}
    asked: list[int] = []
    sample = alternatives.continue_prompts

    def killed(given: CausalLM, prompts: list[list[int]], *rest: Any, **named: Any) -> Any:
        asked.append(len(prompts))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return sample(given, prompts, *rest, **named)

    monkeypatch.setattr(alternatives, "continue_prompts", killed)
    with pytest.raises(KeyboardInterrupt):
        known_sets(SHORT, task, forget, forget, tmp_path / "killed")
    again = known_sets(SHORT, task, forget, forget, tmp_path / "killed").forget.batch([0, 1, 2]).signals["alternatives"]
    assert asked == [2, 1, 1]
    assert again.ids.tolist() == whole.ids.tolist()
    assert again.labels.tolist() == whole.labels.tolist()
    assert not list((tmp_path / "killed").rglob("*so-far*"))


def test_a_whole_alternative_ends_its_turn(task: CausalLM) -> None:
    from expunge.data.text.token_stream import Encoder
    from expunge.kinds.language.question_rows import QuestionFormat

    written = QuestionFormat(Encoder(task.tokenizer), 64)
    end = written.end_of_turn
    whole, cut, nothing = alternatives.as_answers(written, ["whole Paris.", "cut Paris.", "whole "])
    assert whole == cut + end
    assert nothing == end
    assert task.tokenizer.decode(cut).strip() == "Paris."


def test_an_answer_is_cut_to_the_room_that_a_question_leaves(tiny_model_folder: Path, tmp_path: Path) -> None:
    task = load_task(tiny_model_folder)
    long = write_table(tmp_path / "long", random_blocks([511, 60]), first_label=50)
    long_question = write_table(tmp_path / "question", random_blocks([512]), first_label=509)
    for forget in (long, long_question):
        batch = known_sets(IdkDPO(), task, forget, long, tmp_path / forget.folder.name / "run").forget.batch([0])
        assert int(batch.signals["refusals"].lengths.max()) <= 512
        assert batch.signals["refusals_reference_nll"][0, 0].item() == pytest.approx(
            block_nll(task, known_table(batch, tmp_path / forget.folder.name / "again"))[0], rel=1e-4
        )


def known_table(batch: Any, folder: Path) -> TokenTable:
    with TableWriter(folder) as writer:
        writer.append(batch.signals["refusals"].ids[0].tolist(), batch.signals["refusals"].labels[0].tolist())
    return TokenTable(folder)
