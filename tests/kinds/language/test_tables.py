"""Token tables on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expunge.errors import StorageError
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.train.step import IGNORED

BLOCKS = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]


def test_batches_are_padded_on_the_right(tmp_path: Path) -> None:
    with TableWriter(tmp_path) as writer:
        for ids in BLOCKS:
            writer.append(ids, ids)
    table = TokenTable(tmp_path)
    assert (len(table), table.tokens, table.lengths.tolist()) == (3, 9, [4, 2, 3])
    batch = table.batch([2, 0])
    assert batch.ids.tolist() == [[11, 12, 13, 0], [5, 6, 7, 8]]
    # nothing predicts a block's first token, whatever its label says
    assert batch.labels.tolist() == [[IGNORED, 12, 13, IGNORED], [IGNORED, 6, 7, 8]]
    assert batch.lengths.tolist() == [3, 4]
    assert batch.normaliser == table.labelled([2, 0]) == 5
    assert table.batch([2], normaliser=40.0).normaliser == 40
    assert batch.soft_ids is None


def test_labels_need_not_be_the_text(tmp_path: Path) -> None:
    with TableWriter(tmp_path) as writer:
        writer.append([5, 6, 7, 8], [IGNORED, IGNORED, 99, IGNORED])
    table = TokenTable(tmp_path)
    assert table.batch([0]).labels.tolist() == [[IGNORED, IGNORED, 99, IGNORED]]
    assert table.labelled([0]) == 1


def test_soft_labels_are_padded_with_weights_of_zero(tmp_path: Path) -> None:
    with TableWriter(tmp_path, k=2) as writer:
        for ids in BLOCKS:
            soft = np.array([[i, i + 1] for i in ids])
            writer.append(ids, ids, soft, np.full((len(ids), 2), 0.5))
    batch = TokenTable(tmp_path).batch([1, 0])
    assert batch.soft_ids is not None
    assert batch.soft_weights is not None
    assert batch.soft_ids[0].tolist() == [[9, 10], [10, 11], [0, 0], [0, 0]]
    assert batch.soft_weights[:, :, 0].tolist() == [[0.5, 0.5, 0, 0], [0.5] * 4]


def test_a_block_without_labels_still_has_a_normaliser(tmp_path: Path) -> None:
    with TableWriter(tmp_path) as writer:
        writer.append([5, 6], [IGNORED, IGNORED])
    assert TokenTable(tmp_path).batch([0]).normaliser == 1


@pytest.mark.parametrize("k", [0, 2])
def test_a_table_without_blocks_can_be_read(k: int, tmp_path: Path) -> None:
    """A text too short for a block: whoever reads the table says so."""
    with TableWriter(tmp_path, k):
        pass
    table = TokenTable(tmp_path)
    assert (len(table), table.tokens, table.lengths.tolist()) == (0, 0, [])


def test_a_table_that_was_not_finished_cannot(tmp_path: Path) -> None:
    def write() -> None:
        with TableWriter(tmp_path) as writer:
            writer.append([1], [1])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    with pytest.raises(StorageError, match=r"table\.json is missing"):
        TokenTable(tmp_path)


def test_as_many_labels_as_tokens(tmp_path: Path) -> None:
    with TableWriter(tmp_path) as writer, pytest.raises(ValueError, match="3 tokens but 2 labels"):
        writer.append([1, 2, 3], [1, 2])
