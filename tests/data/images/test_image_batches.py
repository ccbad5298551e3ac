"""The order of pictures depends on its arguments and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.data.images.batches import order


def test_each_epoch_visits_every_picture_once() -> None:
    batches = order(10, 4, seed=1, stream="retain", epoch=0)
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(np.concatenate(batches).tolist()) == list(range(10))


def test_seed_stream_and_epoch_each_change_the_order() -> None:
    def rows(seed: int, stream: str, epoch: int) -> list[int]:
        return np.concatenate(order(50, 8, seed=seed, stream=stream, epoch=epoch)).tolist()

    first = rows(1, "retain", 0)
    assert first == rows(1, "retain", 0)
    assert first not in (rows(2, "retain", 0), rows(1, "forget", 0), rows(1, "retain", 1))


def test_the_order_is_the_same_on_every_machine() -> None:
    assert [batch.tolist() for batch in order(5, 2, seed=7, stream="retain", epoch=3)] == [[4, 1], [3, 0], [2]]


def test_no_pictures_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="forget has 0 pictures"):
        order(0, 4, seed=0, stream="forget", epoch=0)
