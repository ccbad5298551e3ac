"""Facts of one person or document are known to belong together."""

from __future__ import annotations

from pathlib import Path

from sides import ROWS, TEXT

from expunge.data.text.document import Document
from expunge.kinds.language.attacks.facts import read_facts
from tiny import load_task


def test_questions_in_a_row_and_passages_of_a_document_belong_together(tiny_model_folder: Path) -> None:
    tokenizer = load_task(tiny_model_folder).tokenizer
    pairs = read_facts(lambda: [*ROWS, *ROWS], tokenizer, 100, 128, "forget set", 2)
    assert pairs.about == tuple(number // 2 for number in range(24))
    assert pairs.groups == list(pairs.about)
    assert pairs.given == list(range(12))
    assert not {pairs.about[i] for i in pairs.given} & {pairs.about[i] for i in pairs.held_back}
    fewer, whose = pairs.some(20, 0), {id(fact): about for fact, about in zip(pairs.every, pairs.about, strict=True)}
    assert [whose[id(fact)] for fact in fewer.every] == list(fewer.about), "of a sample it is known, too"
    assert len(fewer.about) == 20
    assert not {fewer.about[i] for i in fewer.given} & {fewer.about[i] for i in fewer.held_back}
    spread = read_facts(lambda: [*ROWS, *ROWS], tokenizer, 12, 128, "forget set", 3)
    assert len(spread.every) == 12
    assert spread.groups is not None
    assert spread.groups == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]
    alone = read_facts(lambda: ROWS, tokenizer, 100, 128, "forget set")
    assert alone.groups is None
    long = TEXT[0].text
    texts = [Document(long, None, f"{name}.txt:1") for name in range(9)]
    pieces = [Document(long[:1500], None, "x.txt:1"), Document(long[1500:], None, "x.txt:9", continues=True)]
    passages = read_facts(lambda: [*texts, *pieces], tokenizer, 10_000, 128, "forget set")
    assert len(set(passages.about)) == 10, "the pieces of one document are one"
    assert passages.groups == list(passages.about)
    assert read_facts(lambda: TEXT, tokenizer, 100, 128, "forget set").groups is None, "one book is no groups"
