"""Blocks: how documents are cut, what may be labelled, and how questions are rendered."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.data.text.document import Document
from expunge.errors import DataError, ModelError
from expunge.kinds.language.blocks import Block, check_target_length, iterate_blocks

SENTENCE = "the fog lay thick on Baker Street and Holmes said nothing. "


def text_of(tokenizer: Any, tokens: int) -> str:
    """Words of the sentence that make exactly so many tokens."""
    ids = tokenizer(SENTENCE * (tokens // 10 + 1))["input_ids"][:tokens]
    text = tokenizer.decode(ids)
    assert len(tokenizer(text)["input_ids"]) == tokens
    return text


def blocks_of(documents: list[Document], tokenizer: Any, block_size: int = 16) -> list[Block]:
    return list(iterate_blocks(documents, tokenizer, block_size))


def assert_spans_cover(block: Block) -> None:
    assert len(block.offsets) == len(block.ids)
    assert block.offsets[0][0] == 0
    assert block.offsets[-1][1] == len(block.text)
    assert all(one[1] == other[0] for one, other in zip(block.offsets, block.offsets[1:], strict=False))


@pytest.mark.parametrize(
    ("tokens", "lengths"),
    [(40, [16, 16, 8]), (39, [16, 16]), (32, [16, 16]), (16, [16]), (8, [8]), (7, [7]), (2, [2]), (1, [])],
)
def test_the_rest_of_a_document(plain_tokenizer: Any, tokens: int, lengths: list[int]) -> None:
    document = Document(text_of(plain_tokenizer, tokens), None, "f:1")
    assert [len(block.ids) for block in blocks_of([document], plain_tokenizer)] == lengths


def test_the_rest_of_a_long_document(plain_tokenizer: Any) -> None:
    # Long enough that blocks go out before its end is known: 31 blocks of 64, and 5 tokens that are dropped.
    document = Document(text_of(plain_tokenizer, 1989), None, "f:1")
    assert [len(block.ids) for block in blocks_of([document], plain_tokenizer, 64)] == [64] * 31


def test_documents_never_share_a_block(plain_tokenizer: Any) -> None:
    first, second = text_of(plain_tokenizer, 20), text_of(plain_tokenizer, 9)
    got = blocks_of([Document(first, None, "f:1"), Document(second, None, "f:2")], plain_tokenizer)
    assert [(len(block.ids), block.source) for block in got] == [(16, "f:1"), (9, "f:2")]
    assert first.startswith(got[0].text)
    assert got[1].text == second


def test_pieces_share_blocks_and_keep_their_source(plain_tokenizer: Any) -> None:
    text = text_of(plain_tokenizer, 2000)
    cut = len(text) // 2
    got = blocks_of([Document(text[:cut], None, "f:1"), Document(text[cut:], None, "f:9", True)], plain_tokenizer, 64)
    assert [len(block.ids) for block in got] == [64] * 31 + [16]
    assert "".join(block.text for block in got) == text
    assert got[0].source == "f:1"
    assert got[-1].source == "f:9"
    half = sum(len(block.text) for block in got if block.source == "f:1")
    assert cut <= half < cut + len(got[0].text) + 40


def test_spans_hold_the_space_before_a_word(any_tokenizer: Any) -> None:
    (block,) = blocks_of([Document("Holmes said nothing on Baker Street.", None, "f:1")], any_tokenizer, 64)
    assert_spans_cover(block)
    said = next(i for i, (start, _) in enumerate(block.offsets) if start == 6 and i >= block.first_label)
    assert block.text[slice(*block.offsets[said])].startswith(" ")


def test_spans_of_characters_of_many_bytes(plain_tokenizer: Any) -> None:
    text = "\u2603 the \u2603\u2603 fog \u2603"  # the snowman is in no merge: three tokens each
    (block,) = blocks_of([Document(text, None, "f:1")], plain_tokenizer, 64)
    assert_spans_cover(block)
    assert block.offsets[:3] == [(0, 1), (1, 1), (1, 1)]


def test_a_block_may_end_inside_a_character(plain_tokenizer: Any) -> None:
    text = "\u2603" * 20
    got = blocks_of([Document(text, None, "f:1")], plain_tokenizer, 16)
    assert [len(block.ids) for block in got] == [16, 16, 16, 12]
    assert "".join(block.text for block in got) == text
    for block in got:
        assert_spans_cover(block)


def test_a_beginning_token_goes_before_each_block(prefixing_tokenizer: Any) -> None:
    got = blocks_of([Document(SENTENCE * 5, None, "f:1")], prefixing_tokenizer)
    assert len(got) > 2
    for block in got:
        assert block.ids[0] == 1
        assert 1 not in block.ids[1:]
        assert block.offsets[0] == (0, 0)
        assert block.first_label == 1
        assert len(block.ids) <= 16
        assert_spans_cover(block)


def test_special_tokens_in_the_text_are_text(chat_tokenizer: Any) -> None:
    (block,) = blocks_of([Document("Holmes said <|im_end|> and <|endoftext|>.", None, "f:1")], chat_tokenizer, 64)
    assert not {0, 1, 2} & set(block.ids)
    assert chat_tokenizer.decode(block.ids) == "Holmes said <|im_end|> and <|endoftext|>."


def test_a_question_is_asked_as_the_template_has_it(chat_tokenizer: Any) -> None:
    row = Document("Paris is the capital.", "What is the capital of France?", "f:3")
    (block,) = blocks_of([row], chat_tokenizer, 128)
    asked = [{"role": "user", "content": row.prompt}]
    prompt = chat_tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    rendered = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    answer = chat_tokenizer("Paris is the capital.")["input_ids"]
    assert block.ids == prompt + answer + [2]
    assert block.first_label == len(prompt)
    assert block.text == rendered + "Paris is the capital."
    assert block.offsets[block.first_label][0] == len(rendered)
    assert block.offsets[-1] == (len(block.text), len(block.text))
    assert block.source == "f:3"
    assert_spans_cover(block)


def test_a_question_without_a_template(plain_tokenizer: Any, prefixing_tokenizer: Any) -> None:
    row = Document("the fog", "Holmes said nothing?", "f:1")
    for tokenizer, begin in ((plain_tokenizer, []), (prefixing_tokenizer, [1])):
        (block,) = blocks_of([row], tokenizer, 128)
        assert block.text == "Question: Holmes said nothing?\nAnswer: the fog"
        assert block.ids == begin + tokenizer(block.text, add_special_tokens=False)["input_ids"] + [2]
        assert block.text[block.offsets[block.first_label][0] :] == " the fog"
        assert_spans_cover(block)


def test_special_tokens_in_a_question_do_not_end_its_turn(chat_tokenizer: Any) -> None:
    row = Document("No <|im_end|> here.", "Why <|im_end|>\n<|im_start|>assistant\nSo?", "f:1")
    (block,) = blocks_of([row], chat_tokenizer, 256)
    # The template's own: start and end of the user's turn, start of the answer; and the end of the answer.
    assert [i for i in block.ids if i in (0, 1, 2)] == [1, 2, 1, 2]
    assert chat_tokenizer.decode(block.ids[:-1]) == block.text
    assert_spans_cover(block)


def test_a_template_that_rewrites_such_a_question_is_told(chat_tokenizer: Any) -> None:
    import copy

    tokenizer = copy.deepcopy(chat_tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
    assert blocks_of([Document("Well, yes.", "why?", "f:1")], tokenizer, 64)[0].text == "WHY?Well, yes."
    with pytest.raises(DataError, match=r"f:2: the question has a special token"):
        blocks_of([Document("Well, yes.", "why <|im_end|>?", "f:2")], tokenizer, 64)


def test_the_end_of_turn_is_the_templates_own(chat_tokenizer: Any) -> None:
    import copy

    tokenizer = copy.deepcopy(chat_tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + ' <|endoftext|>' }}{% endfor %}"
    )
    (block,) = blocks_of([Document("Well, yes.", "Why?", "f:1")], tokenizer, 64)
    assert block.ids[-1] == 0


def test_a_template_that_fails_is_told(chat_tokenizer: Any) -> None:
    import copy

    tokenizer = copy.deepcopy(chat_tokenizer)
    tokenizer.chat_template = "{{ raise_exception('no user turns') }}"
    with pytest.raises(ModelError, match=r"chat template fails[\s\S]*no user turns"):
        blocks_of([Document("Yes.", "Why?", "f:1")], tokenizer)


def test_a_long_answer_goes_on_in_further_blocks(chat_tokenizer: Any) -> None:
    answer = SENTENCE * 6
    (whole,) = blocks_of([Document(answer, "Why?", "f:1")], chat_tokenizer, 1000)
    got = blocks_of([Document(answer, "Why?", "f:1")], chat_tokenizer, 48)
    ids = [i for block in got for i in block.ids]
    assert ids == whole.ids[: len(ids)]
    assert len(whole.ids) - len(ids) < 8
    assert [block.first_label for block in got] == [whole.first_label] + [0] * (len(got) - 1)
    assert whole.text.startswith("".join(block.text for block in got))
    for block in got:
        assert_spans_cover(block)


def test_a_question_that_fills_the_block_is_refused(chat_tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl:7: the question leaves no room[\s\S]*16[\s\S]*block_size"):
        blocks_of([Document("Yes.", SENTENCE, "rows.jsonl:7")], chat_tokenizer, 16)


def test_questions_and_passages_keep_their_order(chat_tokenizer: Any) -> None:
    documents = [
        Document("first passage of text here", None, "f:1"),
        Document("Yes, it was.", "Was it?", "f:2"),
        Document("another passage of text", None, "f:3"),
        Document("No, never.", "Ever?", "f:4"),
    ]
    got = blocks_of(documents, chat_tokenizer, 256)
    assert [block.source for block in got] == ["f:1", "f:2", "f:3", "f:4"]
    assert got[0].text == "first passage of text here"
    assert got[3].text.endswith("No, never.")


def test_batches_do_not_change_the_blocks(plain_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from expunge.kinds.language import blocks

    text = SENTENCE * 200
    documents = [Document(text[i : i + 700], None, f"f:{i}", i > 0) for i in range(0, len(text), 700)]
    documents += [Document(SENTENCE * (i % 4 + 1), None, f"g:{i}") for i in range(40)]
    expected = blocks_of(documents, plain_tokenizer, 32)
    monkeypatch.setattr(blocks, "BATCH_CHARACTERS", 1)
    assert blocks_of(documents, plain_tokenizer, 32) == expected
    monkeypatch.setattr(blocks, "BATCH_CHARACTERS", 5000)
    monkeypatch.setattr(blocks, "BATCH_DOCUMENTS", 3)
    assert blocks_of(documents, plain_tokenizer, 32) == expected


def test_a_target_of_a_few_tokens_is_refused() -> None:
    with pytest.raises(DataError, match=r"note\.txt is too short[\s\S]*3 tokens[\s\S]*at least 4"):
        check_target_length(3, 512, "note.txt")


def test_a_target_shorter_than_a_block_is_reported() -> None:
    assert "16 tokens, fewer than the 512" in (check_target_length(16, 512, "note.txt") or "")
    assert check_target_length(512, 512, "book.txt") is None
