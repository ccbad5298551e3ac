"""Weights of words against an independent fit, where they stand in a table's tokens, and blocks that cover them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.optimize import minimize

from expunge.kinds.language.signals.unwanted_words import (
    SPARED,
    covering,
    own_share,
    token_weights,
    unwanted_tokens,
    word_weights,
    words,
)
from tiny import load_task, write_table

INSULTS = ["you total blockhead", "what a blockhead he is", "go away you nitwit", "that nitwit again"] * 3
POLITE = ["you are welcome", "what a nice day he had", "go and see", "that again", "are you there"] * 4


def test_the_weights_are_at_the_minimum() -> None:
    tables = [(INSULTS, POLITE), (["nitwit of the year", "away with him"] * 4, ["the year ends", "away it went"] * 5)]
    found = word_weights(tables)
    texts = [
        (text, sign, t)
        for t, sides in enumerate(tables)
        for side, sign in zip(sides, (1, -1), strict=True)
        for text in side
    ]
    known = sorted(
        {w for text, *_ in texts for w in text.split() if sum(w in t.split() for t, *_ in texts) >= 5} - SPARED
    )
    assert sorted(found) == known
    occur = np.array([[float(word in text.split()) for word in known] for text, *_ in texts])
    table = np.eye(2)[[t for *_, t in texts]]
    sign = np.array([s for _, s, _ in texts])
    fewest = [min(len(side) for side in sides) for sides in tables]
    share = np.array([fewest[t] / len(tables[t][0 if s > 0 else 1]) for _, s, t in texts])

    def objective(values: np.ndarray) -> float:
        scores = occur @ values[: len(known)] + table @ values[len(known) :]
        return float((share * np.logaddexp(0, -sign * scores)).sum() + (values[: len(known)] ** 2).sum() / 2)

    best = minimize(objective, np.zeros(len(known) + 2), method="BFGS", options={"gtol": 1e-7})
    assert [found[word] for word in known] == pytest.approx(best.x[: len(known)], abs=1e-6)


def test_words_beside_an_insult_have_no_weight_of_their_own() -> None:
    beside = [f"{filler} blockhead" for filler in ("surely", "always", "never", "surely")] * 10
    alone = ["blockhead"] * 20
    found = word_weights([(beside + alone, ["surely fine", "always fine", "never mind", "surely so"] * 10)])
    assert found["blockhead"] > 2
    assert abs(found["surely"]) < 0.5
    assert found["fine"] < -0.5


def test_what_tells_one_table_from_another_has_no_weight() -> None:
    """Tweets are mostly toxic, the pairs half: 'lol' belongs to tweets, not to insults."""
    tweets = (["lol blockhead"] * 60, ["lol friend"] * 6)
    pairs = (["you blockhead"] * 20, ["you friend"] * 20)
    found = word_weights([tweets, pairs])
    assert found["blockhead"] > 1
    assert abs(found["lol"]) < 0.2
    pooled = word_weights([(tweets[0] + pairs[0], tweets[1] + pairs[1])])
    assert pooled["lol"] > found["lol"]


def test_groups_of_people_and_rare_words_are_left_out() -> None:
    found = word_weights(
        [(["Muslims are nitwits", "rare nitwits"] * 6 + ["seldom seen"] * 4, ["a Jew and a friend"] * 12)]
    )
    assert "muslims" not in found
    assert "jew" not in found
    assert "seldom" not in found
    assert found["nitwits"] > 0.5


def test_one_sided_tables() -> None:
    one, other = (["nitwit here"] * 9, []), ([], ["friend here"] * 9)
    assert word_weights([one, (INSULTS, POLITE)]) == word_weights([(INSULTS, POLITE)])
    assert word_weights([one, other])["nitwit"] > 0.5
    assert word_weights([one]).keys() == {"here", "nitwit"}
    assert word_weights([([], [])]) == {}


def test_words_of_a_text() -> None:
    assert words("Don't, you 2nd-rate NITWIT_s’ó!") == ["don't", "you", "nd", "rate", "nitwit", "s'ó"]


def test_every_token_of_a_word_is_marked_and_no_other(tiny_model_folder: Path, tmp_path: Path) -> None:
    tokenizer: Any = load_task(tiny_model_folder).tokenizer
    texts = ["the old dog saw a dogged cat", "dog", "nothing to see"]
    blocks = [tokenizer(text)["input_ids"] for text in texts]
    table = write_table(tmp_path / "table", blocks)
    found = token_weights(table, {"dog": 2.0, "cat": -1.0, "saw": 0.5}, tokenizer)
    assert found.dtype == np.float32
    for text, start, ids in zip(texts, table.starts, blocks, strict=True):
        at = 0
        for number in range(len(ids)):
            piece = tokenizer.decode(ids[: number + 1])[at:]
            first, at = at, at + len(piece)
            letters = {place for place in range(first, at) if text[place] != " "}
            expected = 0.0
            for word, weight in (("dog", 2.0), ("saw", 0.5)):
                for place in range(len(text)):
                    alone = f" {text} "[place] == " " and f" {text} "[place + len(word) + 1 :][:1] == " "
                    if text.startswith(word, place) and alone and letters & set(range(place, place + len(word))):
                        expected = max(expected, weight)
            # The first token of a block has no label: nothing predicts it.
            assert found[start + number] == (expected if number or table.labels[start] >= 0 else 0.0), (text, number)
    assert found.max() == 2.0
    some = token_weights(table.take([2]), {"dog": 2.0}, tokenizer)
    assert some.shape == found.shape
    assert not some.any()


def test_a_token_that_opens_harmless_words_too_is_not_unwanted(tmp_path: Path) -> None:
    class Pieces:
        """Words of two letters a token: "be" opens an insult and three harmless words."""

        names: ClassVar = {3: " be", 4: "ast", 5: "ach", 6: " ra", 7: "t", 8: " so"}

        def decode(self, ids: list[int]) -> str:
            return "".join(self.names[number] for number in ids)

        def batch_decode(self, rows: list[list[int]]) -> list[str]:
            return [self.decode(row) for row in rows]

    tokenizer = Pieces()
    forget = write_table(tmp_path / "forget", [[8, 3, 4], [8, 6, 7], [8, 3, 5]])  # so beast, so rat, so beach
    kept = write_table(tmp_path / "kept", [[8, 3, 5], [8, 3, 5], [8, 6, 5]])
    weights = {"beast": 2.0, "rat": 1.0}
    every = [(table, token_weights(table, weights, tokenizer)) for table in (forget, kept)]
    own = own_share(every, 0.5)
    # Places are weighed by table: each has nine tokens.
    assert own[3] == pytest.approx(1 / 4)
    assert own[4] == pytest.approx(1)
    assert own[6] == pytest.approx(1 / 2)
    assert own[8] == 0
    assert token_weights(forget, weights, tokenizer).tolist() == [0, 2, 2, 0, 1, 1, 0, 0, 0]
    assert token_weights(forget, weights, tokenizer, own).tolist() == [0, 0, 2, 0, 1, 1, 0, 0, 0]
    # A word of nothing but shared tokens keeps the one that is most its own.
    least = np.where(own > 0, own / 4, 0)
    assert token_weights(forget, weights, tokenizer, least).tolist() == [0, 0, 2, 0, 0, 1, 0, 0, 0]

    often = write_table(tmp_path / "often", [[8, 3, 4]] * 3 + [[8, 3, 5]] * 4 + [[8, 6, 7]] * 2)
    every = [(table, token_weights(table, weights, tokenizer)) for table in (often, kept)]
    assert unwanted_tokens(every, 0.5) == [4], "be stands in other words more often, ra and t were seen twice"
    assert unwanted_tokens(every, 2.5) == []


def test_blocks_that_cover_all_unwanted_tokens(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.integers(3, 30, 8).tolist() for _ in range(40)]
    for row in range(30):
        blocks[row][4] = 50  # the commonest unwanted token
    blocks[31][3], blocks[35][5], blocks[36][5] = 51, 52, 52
    table = write_table(tmp_path / "table", blocks)
    weights = np.where(np.asarray(table.ids) >= 50, 2.0, 0.0).astype(np.float32)
    assert {31} < set(covering(table, weights, 1.0, 3)), "one block for each token"
    rows = covering(table, weights, 1.0, 5)
    assert rows == sorted(rows)
    assert {31, 35, 36} < set(rows)
    assert covering(table, weights, 1.0, 99) == list(range(40))
    # Against the definition, one choice at a time.
    taken: list[int] = []
    while len(taken) < 6:
        counts = {token: sum(token in blocks[row][1:] for row in taken) for token in (50, 51, 52)}
        worth = {
            row: sum(1 / (1 + counts[token]) for token in counts if token in block[1:]) / math.sqrt(len(block))
            for row, block in enumerate(blocks)
            if row not in taken
        }
        taken.append(max(worth, key=lambda row: (worth[row], -row)))
    assert covering(table, weights, 1.0, 6) == sorted(taken)


def test_characters_that_are_split_among_tokens(tiny_model_folder: Path, tmp_path: Path) -> None:
    tokenizer: Any = load_task(tiny_model_folder).tokenizer
    for text in ("the \U0001f415 dog", "caf\u00e9 dog", "dog \U0001f415\U0001f415"):
        ids = tokenizer(text)["input_ids"]
        table = write_table(tmp_path / text[-4:].encode().hex(), [ids])
        found = token_weights(table, {"dog": 2.0}, tokenizer)
        whole = [tokenizer.decode(ids[: number + 1]) for number in range(len(ids))]
        holds = [any(c in "dog" for c in now[len(before) :]) for before, now in zip(["", *whole], whole, strict=False)]
        assert [bool(weight) for weight in found[1:]] == [h and "dog" in text for h in holds][1:], text
