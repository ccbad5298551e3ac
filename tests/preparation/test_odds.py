"""Log odds of tokens, with their prior, against the formula one token at a time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from expunge.preparation.odds import CERTAIN, PRIOR, log_odds
from tiny import write_table


def test_against_the_formula(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    common = rng.integers(3, 40, (60, 20))
    lost = np.where(rng.random((60, 20)) < 0.15, 50, common).tolist()  # token 50 is what tells the sets apart
    kept = np.where(rng.random((60, 20)) < 0.01, 50, rng.integers(3, 40, (60, 20))).tolist()
    forget, retain = write_table(tmp_path / "forget", lost), write_table(tmp_path / "retain", kept)
    found = log_odds(forget, retain, 60)
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
    assert not log_odds(table, table, 10).any()
    assert not log_odds(table, write_table(tmp_path / "one", [[3]]), 10)[7:].any()


def test_only_labels_count(tmp_path: Path) -> None:
    forget = write_table(tmp_path / "forget", [[9, 9, 9, 3, 4]] * 50, first_label=3)
    retain = write_table(tmp_path / "retain", [[3, 3, 3, 3, 4]] * 50, first_label=3)
    assert not log_odds(forget, retain, 10).any()
