"""The order of data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.core.order import BUCKET, Order, batch_sizes, random_seed, shuffled

lengths = st.lists(st.integers(2, 512), min_size=1, max_size=120)


@given(lengths, st.integers(1, 9), st.integers(0, 2**31), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_every_epoch_holds_each_block_once(sizes: list[int], batch_size: int, seed: int, epoch: int) -> None:
    order = Order(np.array(sizes), batch_size, seed, "forget")
    assert order.batches_per_epoch == -(-len(sizes) // batch_size)
    numbers = range(epoch * order.batches_per_epoch, (epoch + 1) * order.batches_per_epoch)
    batches = [order.batch(number) for number in numbers]
    assert sorted(row for batch in batches for row in batch) == list(range(len(sizes)))
    assert all(len(batch) <= batch_size for batch in batches)
    assert sum(len(batch) < batch_size for batch in batches) <= 1


@given(lengths, st.integers(1, 9), st.integers(0, 2**31), st.lists(st.integers(0, 200), max_size=12))
@settings(max_examples=50, deadline=None)
def test_a_batch_does_not_depend_on_what_was_asked_before(
    sizes: list[int], batch_size: int, seed: int, asked: list[int]
) -> None:
    order = Order(np.array(sizes), batch_size, seed, "forget")
    for number in asked:
        assert order.batch(number) == Order(np.array(sizes), batch_size, seed, "forget").batch(number)


def test_epochs_seeds_and_streams_differ() -> None:
    sizes = np.full(64, 8)

    def rows(seed: int = 0, stream: str = "forget", epoch: int = 0) -> list[list[int]]:
        order = Order(sizes, 4, seed, stream)
        return [order.batch(epoch * 16 + i) for i in range(16)]

    others = [rows(epoch=1), rows(seed=1), rows(stream="retain")]
    assert all(other != rows() for other in others)


def test_blocks_of_a_batch_are_of_like_length() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(2, 512, BUCKET * 4)  # one bucket
    order = Order(sizes, 4, 0, "forget")
    padding = sum(int((sizes[rows].max() - sizes[rows]).sum()) for rows in map(order.batch, range(BUCKET)))
    assert padding < 0.05 * sizes.sum()
    in_turn = [sizes[order.batch(i)].mean() for i in range(BUCKET)]
    assert in_turn != sorted(in_turn), "short batches must not all come first"


def test_seeds_of_names_are_the_same_everywhere() -> None:
    assert random_seed(0, "step", 3) == 8082029764619972999
    assert random_seed(0, "a", "b") != random_seed(0, "ab")
    assert 0 <= random_seed(123, "x") < 1 << 63


def test_an_empty_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="the stream retain has no examples"):
        Order(np.array([]), 4, 0, "retain")


def test_without_lengths_a_last_example_alone_joins_the_batch_before() -> None:
    assert [len(rows) for rows in shuffled(10, 4, 1, "retain", 0)] == [4, 4, 2]
    assert [len(rows) for rows in shuffled(9, 4, 1, "retain", 0)] == [4, 5]
    assert [len(rows) for rows in shuffled(3, 1, 1, "retain", 0)] == [1, 1, 1]
    assert [len(rows) for rows in shuffled(1, 4, 1, "retain", 0)] == [1]


@given(st.integers(1, 90), st.integers(1, 9))
def test_each_pass_visits_every_example_once(count: int, size: int) -> None:
    batches = shuffled(count, size, 1, "retain")
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert [len(rows) for rows in batches] == batch_sizes(count, size)


def test_the_order_is_the_same_on_every_machine() -> None:
    assert [rows.tolist() for rows in shuffled(5, 2, 7, "retain", 3)] == [[4, 1], [3, 0, 2]]
    order = Order(5, 2, 7, "retain")
    assert order.batches_per_epoch == 2
    assert [order.batch(number) for number in (6, 7)] == [[4, 1], [3, 0, 2]]


def test_seed_and_names_each_change_a_pass() -> None:
    def rows(seed: int, *names: str | int) -> list[int]:
        return np.concatenate(shuffled(50, 8, seed, *names)).tolist()

    first = rows(1, "retain", 0)
    assert first == rows(1, "retain", 0)
    assert first not in (rows(2, "retain", 0), rows(1, "forget", 0), rows(1, "retain", 1))
    with pytest.raises(ValueError, match="forget/0 has 0 examples"):
        shuffled(0, 4, 0, "forget", 0)
