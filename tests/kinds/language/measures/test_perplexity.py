"""Perplexity."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from expunge.kinds.language.measures.perplexity import perplexity, spread
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.train.step import IGNORED
from tiny import load_task, random_blocks, write_table


def test_it_is_the_exponential_of_the_mean_over_tokens(tiny_model_folder: Path, tmp_path: Path) -> None:
    task = load_task(tiny_model_folder)
    blocks = random_blocks([30, 7, 18, 9, 25, 4, 3])
    table = write_table(tmp_path, blocks, first_label=2)
    score = perplexity(task, table, "retain", "base", 100)
    nats, means = [], []
    for ids in blocks:
        log_p = task.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        of_block = [-log_p[t - 1, ids[t]].item() for t in range(2, len(ids))]
        nats += of_block
        means.append(sum(of_block) / len(of_block))
    assert score.value == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)
    assert score.examples == pytest.approx(means, rel=1e-5), "in the order of the blocks"
    assert score.low < score.value < score.high
    assert (score.n, score.split, score.higher_is) == (7, "retain", "worse")
    assert perplexity(task, table, "forget", "base", 100).higher_is == "better"


def test_at_most_so_many_blocks_spread_evenly(tiny_model_folder: Path, tmp_path: Path) -> None:
    task = load_task(tiny_model_folder)
    blocks = random_blocks([8] * 10)
    some = perplexity(task, write_table(tmp_path / "all", blocks), "retain", "base", 5)
    same = perplexity(task, write_table(tmp_path / "some", blocks[::2]), "retain", "base", 100)
    assert some.examples == pytest.approx(same.examples, rel=1e-6)


def test_a_block_without_labels_does_not_count(tiny_model_folder: Path, tmp_path: Path) -> None:
    ids = random_blocks([9])[0]
    with TableWriter(tmp_path) as writer:
        writer.append(ids, ids)
        writer.append(ids, [IGNORED] * 9)
    assert perplexity(load_task(tiny_model_folder), TokenTable(tmp_path), "retain", "base", 9).n == 1


def test_a_text_that_became_impossible_still_has_a_finite_figure(tmp_path: Path) -> None:
    """Ascent without a bound reaches thousands of nats a token; a run must end with a verdict, not with an overflow."""

    def token_scores(batch: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(torch.full((8,), -5000.0), torch.zeros(8, dtype=torch.bool)) for _ in batch.lengths]

    table = write_table(tmp_path, random_blocks([9, 9]))
    task: Any = SimpleNamespace(token_scores=token_scores, shared=lambda job, about, pieces, own: own(range(pieces)))
    score = perplexity(task, table, "forget", "unlearned", 9)
    assert math.isfinite(score.value)
    assert math.isfinite(score.high)
    assert score.value > 1e300


@pytest.mark.parametrize(
    ("n", "wanted", "expected"),
    [(3, 5, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (10, 4, [0, 2, 5, 7]), (0, 3, []), (7, 1, [0])],
)
def test_spread(n: int, wanted: int, expected: list[int]) -> None:
    assert spread(n, wanted) == expected
