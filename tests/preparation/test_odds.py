"""Log odds of tokens, with their prior, against the formula one token at a time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from expunge.preparation.odds import CERTAIN, PRIOR, covering, log_odds, table_counts
from tiny import write_table


def test_against_the_formula(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    common = rng.integers(3, 40, (60, 20))
    lost = np.where(rng.random((60, 20)) < 0.15, 50, common).tolist()  # token 50 is what tells the sets apart
    kept = np.where(rng.random((60, 20)) < 0.01, 50, rng.integers(3, 40, (60, 20))).tolist()
    forget, retain = write_table(tmp_path / "forget", lost), write_table(tmp_path / "retain", kept)
    found = log_odds(table_counts(forget, retain, 60))
    labels = [[token for block in blocks for token in block[1:]] for blocks in (lost, kept)]
    both = labels[0] + labels[1]
    for token in range(60):
        a = PRIOR * both.count(token) / len(both)
        if not a:
            assert found[token] == 0
            continue
        sides = [(of.count(token) + a, len(of) + PRIOR) for of in labels]
        delta = math.log(sides[0][0] / (sides[0][1] - sides[0][0])) - math.log(
            sides[1][0] / (sides[1][1] - sides[1][0])
        )
        z = delta / math.sqrt(1 / sides[0][0] + 1 / sides[1][0])
        assert found[token] == pytest.approx(delta if z >= CERTAIN else 0.0, rel=1e-5)
    assert found[50] > 1.5
    assert (found > 0).sum() < 5


def test_equal_sets_and_an_empty_one(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table", [[3, 4, 5, 6]] * 20)
    assert not log_odds(table_counts(table, table, 10)).any()
    assert not log_odds(table_counts(table, write_table(tmp_path / "one", [[3]]), 10))[7:].any()


def test_each_table_is_compared_with_its_own_clean_side() -> None:
    """Token 1 is the style of the first table, mostly clean, 2 that of the second, mostly toxic; 5 is what is to go."""
    first = [[0, 900, 10, 500, 0, 0], [0, 9000, 100, 5000, 0, 0]]
    second = [[0, 10, 4000, 500, 0, 300], [0, 10, 3600, 450, 0, 10]]
    found = log_odds(np.array([first, second]))
    assert found[5] > 2
    assert not found[:5].any()
    together = log_odds(np.array([first, second]).sum(0, keepdims=True))
    assert together[2] > 1, "which is why"
    one_sided = np.array([[[0, 5, 0, 0, 0, 300], [0] * 6], second])
    assert np.array_equal(log_odds(one_sided), log_odds(np.array([second])))
    apart = np.array([[[0, 5, 0, 0, 0, 300], [0] * 6], [[0] * 6, [0, 300, 0, 0, 0, 5]]])
    assert log_odds(apart)[5] > 1


def test_only_labels_count(tmp_path: Path) -> None:
    forget = write_table(tmp_path / "forget", [[9, 9, 9, 3, 4]] * 50, first_label=3)
    retain = write_table(tmp_path / "retain", [[3, 3, 3, 3, 4]] * 50, first_label=3)
    assert not log_odds(table_counts(forget, retain, 10)).any()


def test_blocks_that_cover_all_unwanted_tokens(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.integers(3, 30, 8).tolist() for _ in range(40)]
    for row in range(30):
        blocks[row][4] = 50  # the commonest unwanted token
    blocks[31][3], blocks[35][5], blocks[36][5] = 51, 52, 52
    table = write_table(tmp_path / "table", blocks)
    odds = np.zeros(60, np.float32)
    odds[50:53] = 2.0
    assert {31} < set(covering(table, odds, 1.0, 3)), "one block for each token"
    rows = covering(table, odds, 1.0, 5)
    assert rows == sorted(rows)
    assert {31, 35, 36} < set(rows)
    assert covering(table, odds, 1.0, 99) == list(range(40))
    assert covering(table, odds, 9.0, 4) == covering(table, odds, 9.0, 4)
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
    assert covering(table, odds, 1.0, 6) == sorted(taken)
