"""Verbatim recall, by hand and against the naive formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.data.text.words import units
from expunge.kinds.language.measures.recall import (
    PREFIX,
    SUFFIX,
    extraction_strength,
    latin,
    openunlearning_extraction_strength,
    passages,
    published_rouge_l,
    rouge_l,
    verbatim_recall,
)
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.train.step import IGNORED
from tiny import load_task, random_blocks, write_table


@pytest.mark.parametrize(
    ("candidate", "reference", "value"),
    [
        # Lin 2004, section 3.1: the longest common subsequence of both is 3 and 2 of 4 words
        ("police kill the gunman", "police killed the gunman", 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        ("a b c", "a b c", 1.0),
        ("a b c", "d e f", 0.0),
        ("", "a b", 0.0),
        ("a b", "", 0.0),
        # P = 2/2, R = 2/4
        ("a c", "a b c d", 2 * 1 * 0.5 / 1.5),
        # P = 3/6, R = 3/3
        ("x a y b z c", "a b c", 2 * 0.5 * 1 / 1.5),
        # a repeated word counts once where the reference has it once
        ("a a a a", "a", 2 * 0.25 * 1 / 1.25),
    ],
)
def test_rouge_l_by_hand(candidate: str, reference: str, value: float) -> None:
    assert rouge_l(candidate.split(), reference.split()) == pytest.approx(value)


def naive_rouge_l(candidate: list[int], reference: list[int]) -> float:
    table = [[0] * (len(reference) + 1) for _ in range(len(candidate) + 1)]
    for i, a in enumerate(candidate, 1):
        for j, b in enumerate(reference, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    longest = table[-1][-1]
    if not longest:
        return 0.0
    precision, recall = longest / len(candidate), longest / len(reference)
    return 2 * precision * recall / (precision + recall)


numbers = st.lists(st.integers(0, 5), max_size=25)


@given(numbers, numbers)
@settings(max_examples=300, deadline=None)
def test_rouge_l_is_that_of_the_naive_table(candidate: list[int], reference: list[int]) -> None:
    assert rouge_l(candidate, reference) == pytest.approx(naive_rouge_l(candidate, reference))


@pytest.mark.parametrize(
    ("greedy", "value"),
    [
        ([True] * 8, 1.0),
        ([False] * 8, 0.0),
        ([True] * 7 + [False], 0.0),  # it must be recited to the end
        ([False] + [True] * 3, 0.75),
        ([True, False, True, False, True, True], 2 / 6),
        ([True], 1.0),
        ([], 0.0),
    ],
)
def test_extraction_strength(greedy: list[bool], value: float) -> None:
    assert extraction_strength(greedy) == value


@pytest.mark.parametrize(
    ("said", "true", "recall", "f1"),
    [
        # rouge_score 0.1.2, RougeScorer(["rougeL"], use_stemmer=True).score(true, said); the last two are that package's
        # own tests (rouge_scorer_test.py: "testing one two" against "testing"; stemmed "cats" and "running" are "cat", "run")
        ("hello world", "Hello, world!", 1.0, 1.0),
        ("police kill the gunman", "police killed the gunman", 1.0, 1.0),
        ("the cat runs", "The cats were running.", 0.75, 6 / 7),
        ("testing", "testing one two", 1 / 3, 0.5),
        # the package's figures: 5 of 7 and of 6 words (skies and sky are one stem)
        ("The skies' 3rd generalisation dies lying", "Its sky, 3rd: generalised; dying lies there", 5 / 7, 10 / 13),
        ("", "a word", 0.0, 0.0),
        ("привет мир", "привет мир", 0.0, 0.0),
    ],
)
def test_published_rouge_l(said: str, true: str, recall: float, f1: float) -> None:
    assert published_rouge_l(said, true) == pytest.approx((recall, f1))


def test_the_two_rouge_ls_differ_where_the_definitions_do() -> None:
    assert rouge_l(units("Hello, world!"), units("hello world")) == 0
    assert published_rouge_l("Hello, world!", "hello world") == (1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "is_so"),
    [("It is so", True), ("Größe", True), ("привет мир", False), ("他站在门口", False), ("4821", False), ("", False)],
)
def test_published_rouge_l_is_for_latin_letters(text: str, is_so: bool) -> None:
    assert latin([text]) is is_so


@pytest.mark.parametrize(
    ("greedy", "value"),
    [
        # locuslab/open-unlearning, src/evals/metrics/memorization.py: the loop over k ends at L - 1 where nothing matches
        ([True, True, False, False], 0.25),
        ([False] * 64, 1 / 64),
        ([False, True, True, True], 0.75),
        ([True] * 8, 1.0),
    ],
)
def test_extraction_strength_as_openunlearning(greedy: list[bool], value: float) -> None:
    assert openunlearning_extraction_strength(greedy) == value


def test_passages_are_whole_and_from_plain_text_only(tmp_path: Path) -> None:
    size = PREFIX + SUFFIX
    blocks = random_blocks([size - 1, size, 2 * size + 5, size])
    with TableWriter(tmp_path) as writer:
        for number, ids in enumerate(blocks):
            first = 20 if number == 3 else 1  # the last has a prompt part
            writer.append(ids, [IGNORED] * first + ids[first:])
    table = TokenTable(tmp_path)
    expected = [blocks[1], blocks[2][:size], blocks[2][size : 2 * size]]
    assert [passage.tolist() for passage in passages(table, 10)] == expected
    assert [passage.tolist() for passage in passages(table, 1)] == expected[:1]
    assert all(passage.shape == (size,) for passage in passages(table, 10))


def test_every_passage_begins_as_the_tokenizer_begins_a_text(tmp_path: Path) -> None:
    size = PREFIX + SUFFIX
    marked, unmarked = random_blocks([2 * size, size])
    table = write_table(tmp_path, [[1, 2, *marked], unmarked])
    found = [passage.tolist() for passage in passages(table, 10, prefix=[1, 2])]
    assert found == [[1, 2, *marked[:size]], [1, 2, *marked[size:]], [1, 2, *unmarked]]


def test_a_text_without_a_long_enough_passage_has_no_scores(tiny_model_folder: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path, random_blocks([20, 30]))
    assert verbatim_recall(load_task(tiny_model_folder), table, "forget", "base", 5) == ([], [])


def test_a_model_that_recites_scores_one_and_the_wrong_text_next_to_nothing(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    """The text is what the model itself says greedily, so by construction it recites it."""
    task = load_task(tiny_model_folder)
    own = []
    for prompt in random_blocks([PREFIX, PREFIX], seed=5):
        ids = list(prompt)
        with torch.no_grad():
            for _ in range(SUFFIX):
                ids.append(int(task.model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert task.tokenizer.eos_token_id not in ids
        own.append(ids)
    scores, answers = verbatim_recall(task, write_table(tmp_path / "own", own), "forget", "base", 5)
    by_name = {score.measure: score for score in scores}
    assert list(by_name) == [
        "verbatim_recall",
        "rouge_l_recall",
        "rouge_l_f1",
        "extraction_strength",
        "extraction_strength_openunlearning",
    ]
    rouge, strength = by_name["verbatim_recall"], by_name["extraction_strength"]
    both = [published_rouge_l(row["said"], row["true"]) for row in answers]
    assert 1.0 in by_name["rouge_l_recall"].examples
    assert list(zip(by_name["rouge_l_recall"].examples, by_name["rouge_l_f1"].examples, strict=True)) == both
    assert (rouge.measure, rouge.value, rouge.n, rouge.higher_is) == ("verbatim_recall", 1.0, 2, "worse")
    assert (strength.measure, strength.value) == ("extraction_strength", 1.0)
    assert [row["said"] for row in answers] == [row["true"] for row in answers]
    own[0][-1] = (own[0][-1] + 1) % 150 + 3  # one wrong token at the very end
    spoilt, _ = verbatim_recall(task, write_table(tmp_path / "spoilt", own), "retain", "unlearned", 5)
    assert spoilt[3].examples == (0.0, 1.0)
    assert spoilt[4].examples == (1 / SUFFIX, 1.0)
    assert spoilt[0].examples[0] < spoilt[0].examples[1] == 1
    assert spoilt[0].higher_is == "better"
    other, _ = verbatim_recall(
        task, write_table(tmp_path / "other", random_blocks([PREFIX + SUFFIX] * 2, seed=8)), "forget", "base", 5
    )
    assert other[3].value == 0
    assert other[4].value == 1 / SUFFIX
    assert other[0].value < 0.3
    assert np.isfinite(other[0].low)
