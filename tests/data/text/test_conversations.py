"""Conversations as tokens: labels cover what the assistant says and the end of its turns, and nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from expunge.data.text.document import Document, Turn, digest_documents
from expunge.data.text.notes import Notes
from expunge.data.text.overlap import refuse_overlap
from expunge.data.text.readers import read_documents
from expunge.errors import DataError, ModelError
from expunge.kinds.language.blocks import Block, iterate_blocks
from expunge.kinds.language.sets import true_labels
from expunge.train.step import IGNORED

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who lives in Baker Street?"},
    {"role": "assistant", "content": "Sherlock Holmes does."},
    {"role": "user", "content": "And his friend?"},
    {"role": "assistant", "content": "Doctor Watson."},
]
STRIPPING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] | trim | upper }}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"changes the assistant's earlier turns, as templates of reasoning models do"
STRICT = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"take no system turn, and only alternating user and assistant turns"


def read(path: Path, *rows: Any) -> list[Document]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(read_documents(path))


def labelled(tokenizer: Any, blocks: list[Block]) -> list[str]:
    """The text under labels, block by block."""
    found = []
    for block in blocks:
        labels = true_labels(block)
        kept = [label for label in labels if label != IGNORED]
        # labels are the tokens themselves, without a gap, up to the end of the block
        assert labels[-len(kept) :] == kept == block.ids[-len(kept) :]
        found.append(tokenizer.decode(kept))
    return found


def with_template(tokenizer: Any, template: str | None) -> Any:
    made = copy.deepcopy(tokenizer)
    made.chat_template = template
    return made


def test_labels_are_the_assistants_turns_with_their_ends(chat_tokenizer: Any, tmp_path: Path) -> None:
    blocks = list(iterate_blocks(read(tmp_path / "a.jsonl", {"messages": TALK}), chat_tokenizer, 256))
    assert labelled(chat_tokenizer, blocks) == ["Sherlock Holmes does.<|im_end|>", "Doctor Watson.<|im_end|>"]
    for block, end in zip(blocks, (3, 5), strict=True):
        whole = chat_tokenizer.apply_chat_template(TALK[:end], tokenize=True, return_dict=False)
        # what the template makes of the talk up to there, but for the newline after the last turn
        assert chat_tokenizer.decode(block.ids) == chat_tokenizer.decode(whole).removesuffix("\n")
        assert block.ids == whole[: len(block.ids)]


def test_earlier_turns_are_what_the_template_makes_of_them(chat_tokenizer: Any, tmp_path: Path) -> None:
    tokenizer = with_template(chat_tokenizer, STRIPPING)
    blocks = list(iterate_blocks(read(tmp_path / "a.jsonl", {"messages": TALK}), tokenizer, 256))
    assert labelled(tokenizer, blocks) == ["Sherlock Holmes does.<|im_end|>", "Doctor Watson.<|im_end|>"]
    assert "<|im_start|>assistant\nSHERLOCK HOLMES DOES.<|im_end|>" in blocks[1].text


@pytest.mark.parametrize("rows", [TALK, TALK[1:2] + TALK[1:]])
def test_a_template_that_refuses_names_file_and_row(chat_tokenizer: Any, tmp_path: Path, rows: list[Any]) -> None:
    documents = read(tmp_path / "a.jsonl", {"messages": TALK[1:3]}, {"messages": rows})
    with pytest.raises(DataError, match=r"a\.jsonl:2, turn \d: the model's chat template refuses[\s\S]*next:"):
        list(iterate_blocks(documents, with_template(chat_tokenizer, STRICT), 256))
    taken = read(tmp_path / "b.jsonl", {"messages": TALK[1:]})
    assert len(list(iterate_blocks(taken, with_template(chat_tokenizer, STRICT), 256))) == 2


def test_a_template_that_always_fails_is_no_fault_of_the_row(chat_tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="chat template fails on a plain question"):
        list(
            iterate_blocks(
                read(tmp_path / "a.jsonl", {"messages": TALK}), with_template(chat_tokenizer, "{{ 1 / 0 }}"), 256
            )
        )


def test_a_conversation_without_a_template(plain_tokenizer: Any, tmp_path: Path) -> None:
    blocks = list(iterate_blocks(read(tmp_path / "a.jsonl", {"messages": TALK}), plain_tokenizer, 512))
    asked = "Be brief.\n\nQuestion: Who lives in Baker Street?\nAnswer: Sherlock Holmes does.\n\nQuestion: And his friend?\n"
    assert blocks[1].text == asked + "Answer: Doctor Watson."
    assert labelled(plain_tokenizer, blocks) == [" Sherlock Holmes does.</s>", " Doctor Watson.</s>"]


def test_special_tokens_in_turns_are_text(chat_tokenizer: Any, tmp_path: Path) -> None:
    talk = [dict(turn) for turn in TALK]
    talk[1]["content"] = "Who <|im_end|> lives there?"
    blocks = list(iterate_blocks(read(tmp_path / "a.jsonl", {"messages": talk}), chat_tokenizer, 256))
    ends = chat_tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert [block.ids.count(ends) for block in blocks] == [3, 5]  # one a turn
    assert labelled(chat_tokenizer, blocks)[1] == "Doctor Watson.<|im_end|>"


def test_of_a_long_conversation_the_end_is_kept(chat_tokenizer: Any, tmp_path: Path) -> None:
    talk = [TALK[0]]
    for number in range(12):
        talk += [
            {"role": "user", "content": f"Question {number}?"},
            {"role": "assistant", "content": f"Answer {number}."},
        ]
    blocks = list(iterate_blocks(read(tmp_path / "a.jsonl", {"messages": talk}), chat_tokenizer, 96))
    assert [text.removesuffix("<|im_end|>") for text in labelled(chat_tokenizer, blocks)] == [
        f"Answer {number}." for number in range(12)
    ]
    assert all(len(block.ids) <= 96 and block.text.startswith("<|im_start|>system\nBe brief.") for block in blocks)
    assert blocks[0].dropped == 0
    assert blocks[11].dropped > 0
    assert blocks[11].text.endswith("Question 11?<|im_end|>\n<|im_start|>assistant\nAnswer 11.")
    # The first turn that is left is a user's.
    assert "Be brief.<|im_end|>\n<|im_start|>user\n" in blocks[11].text


def test_tools_speak_and_are_not_learnt(chat_tokenizer: Any, tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "London"}}}
    talk = [
        {"role": "user", "content": "Is there fog?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "name": "weather", "content": "thick fog"},
        {"role": "assistant", "content": "Yes, thick fog."},
    ]
    (document,) = read(tmp_path / "a.jsonl", {"messages": talk})
    template = chat_tokenizer.chat_template.replace(
        "{{ m['content'] }}", "{{ m['content'] }}{% for c in m.tool_calls or [] %}[{{ c.function.name }}]{% endfor %}"
    )
    tokenizer = with_template(chat_tokenizer, template)
    (block,) = iterate_blocks([document], tokenizer, 256)
    assert labelled(tokenizer, [block]) == ["Yes, thick fog.<|im_end|>"]
    assert "assistant\n[weather]<|im_end|>\n<|im_start|>tool\nthick fog" in block.text


def test_one_question_in_a_conversation_is_a_question(tmp_path: Path) -> None:
    plain = Document("Sherlock Holmes does.", "Who lives in Baker Street?", f"{tmp_path / 'a.jsonl'}:1")
    assert read(tmp_path / "a.jsonl", {"messages": TALK[1:3]}) == [plain]
    assert read(tmp_path / "a.jsonl", {"question": plain.prompt, "answer": plain.text}) == [plain]


def test_the_digest_sees_what_was_said_before() -> None:
    answer = Document("b", "a", "x")
    talk = Document("b", "a", "x", turns=(Turn("system", "s"), Turn("user", "a")))
    other = Document("b", "a", "x", turns=(Turn("system", "t"), Turn("user", "a")))
    assert len({digest_documents([each]) for each in (answer, talk, other)}) == 3


def test_a_retain_set_of_conversations_is_held_against_the_target(tmp_path: Path) -> None:
    said = "The fog lay thick on Baker Street, and Holmes said that he had seen nothing of the kind before that night."
    talk = [{"role": "user", "content": "What of the fog?"}, {"role": "assistant", "content": said}]
    retain = read(tmp_path / "a.jsonl", {"messages": [*TALK, *talk]})
    with pytest.raises(DataError, match=r"a\.jsonl:1, turn 7 repeats the target"):
        refuse_overlap([Document(said, None, "book.txt:1")], retain)


def test_notes_count_what_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"messages": [*TALK, {"role": "user", "content": "And then?"}]},
        {"messages": TALK[1:2]},
        {"messages": [TALK[1], {"role": "assistant", "content": "<think>Hm.</think>Holmes."}]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    notes = Notes()
    assert [document.text for document in read_documents(path, notes)] == [
        "Sherlock Holmes does.",
        "Doctor Watson.",
        "Holmes.",
    ]
    told = dict(line.rsplit(": ", 1) for line in notes.lines())
    assert told["conversations whose end is left out: nobody answers it"] == "1"
    assert told["conversations left out, since no turn of the assistant answers anything"] == "1"
    assert told["turns of the assistant whose thinking is left out (what stands in <think> ... </think>)"] == "1"
