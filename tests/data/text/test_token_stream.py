"""Tokenizing in pieces gives the tokens of the whole, for each family of tokenizers; spans cover the text."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expunge.data.text import token_stream
from expunge.data.text.document import Document
from expunge.data.text.token_stream import Encoder, TokenStream, token_ends
from expunge.kinds.language import blocks
from expunge.kinds.language.blocks import iterate_blocks

words = st.sampled_from(
    ["the", "fog", "Baker", "Street", "didn't", "1895", "Holmes", "東京", "naïve", "😀", "“quoted”", "<|im_end|>", "a"]
)
gaps = st.sampled_from([" ", " ", " ", " ", ", ", "  ", "\n", "\n\n", ".\n\n", "\n\n\n", " \n \n", "\t", "--"])


def pieces(text: str, cuts: list[int]) -> list[Document]:
    borders = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    parts = [text[i:j] for i, j in itertools.pairwise(borders)]
    return [Document(part, None, f"f:{i}", i > 0) for i, part in enumerate(parts)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(words, gaps), min_size=20, max_size=300), st.lists(st.integers(0, 10_000), max_size=12))
def test_pieces_give_the_tokens_of_the_whole(
    any_tokenizer: Any, monkeypatch: pytest.MonkeyPatch, text: list[tuple[str, str]], cuts: list[int]
) -> None:
    # A short overlap, so that joints fall inside the text.
    monkeypatch.setattr(token_stream, "OVERLAP", 96)
    monkeypatch.setattr(blocks, "OVERLAP", 96)
    joined = "".join(word + gap for word, gap in text)
    whole = any_tokenizer(joined, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    got = list(iterate_blocks(pieces(joined, cuts), any_tokenizer, 32))
    ids = [i for block in got for i in block.ids[block.first_label :]]
    assert ids == whole[: len(ids)]
    assert len(whole) - len(ids) < blocks.MIN_BLOCK
    assert joined.startswith("".join(block.text for block in got))


def test_a_cut_inside_an_empty_line_would_matter(plain_tokenizer: Any) -> None:
    # The control: on its own, a piece that ends in two newlines is tokenized otherwise where a merge of both exists.
    encoder = Encoder(plain_tokenizer)
    text = "the fog.\n\n the street"
    whole = plain_tokenizer(text)["input_ids"]
    left, right = (encoding.ids for encoding in encoder.encode(["the fog.\n\n ", "the street"]))
    assert left + right != whole
    got = list(
        iterate_blocks([Document(text[:11], None, "f:1"), Document(text[11:], None, "f:3", True)], plain_tokenizer, 64)
    )
    assert got[0].ids == whole


def test_a_run_longer_than_the_overlap_still_covers_the_text(plain_tokenizer: Any) -> None:
    text = "the fog " + " " * 5000 + "lay thick"
    got = list(iterate_blocks(pieces(text, [1500, 2500, 4000]), plain_tokenizer, 16))
    assert "".join(block.text for block in got) == text


def test_no_shared_border_in_the_overlap_cuts_at_the_piece(
    plain_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_stream, "_joint", lambda *arguments: None)
    text = "the fog lay thick on Baker Street. " * 60
    got = list(iterate_blocks(pieces(text, [1400]), plain_tokenizer, 64))
    assert text.startswith("".join(block.text for block in got))
    assert sum(len(block.ids) for block in got) == pytest.approx(len(plain_tokenizer(text)["input_ids"]), abs=10)


def ends_of(offsets: list[tuple[int, int]], length: int) -> list[int]:
    return token_ends(SimpleNamespace(offsets=offsets), length)  # type: ignore[arg-type]


def test_a_trimmed_space_belongs_to_the_token_behind_it() -> None:
    # "Harry  said": the spans (0, 5), (6, 6), (7, 11) leave out both spaces.
    assert ends_of([(0, 5), (6, 6), (7, 11)], 11) == [5, 6, 11]


def test_the_first_of_the_tokens_of_one_character_has_it() -> None:
    # "a東b" with three byte tokens for the middle: a, 東, nothing, nothing, b.
    assert ends_of([(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)], 3) == [1, 2, 2, 2, 3]


def test_the_last_token_has_trailing_space() -> None:
    assert ends_of([(0, 2)], 4) == [4]
    assert ends_of([], 0) == []


def test_trimmed_and_untrimmed_offsets_agree(plain_tokenizer: Any, trimmed_tokenizer: Any) -> None:
    text = "the fog  lay\n\n thick 東京 on “Baker” Street"
    plain, trimmed = (Encoder(tokenizer).encode([text])[0] for tokenizer in (plain_tokenizer, trimmed_tokenizer))
    assert plain.offsets != trimmed.offsets
    assert token_ends(plain, len(text)) == token_ends(trimmed, len(text))


def test_tokens_near_the_end_are_not_settled(plain_tokenizer: Any) -> None:
    encoder, stream = Encoder(plain_tokenizer), TokenStream()
    text = "the fog lay thick on Baker Street. " * 100
    stream.append(text, encoder.encode([text])[0], "f:1", encoder)
    settled = stream.settled()
    assert stream.ends[settled - 1] <= len(text) - token_stream.OVERLAP < stream.ends[settled]
    stream.drop(settled)
    assert stream.start + len(stream.text) == len(text)
    assert stream.source == "f:1"


def test_what_the_tokenizer_puts_before_a_text(plain_tokenizer: Any, prefixing_tokenizer: Any) -> None:
    assert Encoder(plain_tokenizer).prefix == []
    assert Encoder(prefixing_tokenizer).prefix == [1]


def test_the_tokenizer_is_left_as_it_was(chat_tokenizer: Any) -> None:
    before = chat_tokenizer("a <|im_end|>")["input_ids"]
    Encoder(chat_tokenizer).encode(["a <|im_end|>"])
    assert chat_tokenizer("a <|im_end|>")["input_ids"] == before
    assert chat_tokenizer.backend_tokenizer.encode("<|im_end|>").ids == [2]
