"""What processes say to each other."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.core.wire import packed, unpacked


def test_arrays_come_out_as_they_went_in() -> None:
    arrays = [
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.array([0.1, np.nan, -np.inf], np.float32),
        np.array(3.25),
        np.zeros((0, 4), np.float16),
        np.array([[True], [False]]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3))[:, ::2],
    ]
    said = {"made": [arrays[0], {"deep": arrays[1:]}], "text": 'a "word"', "none": None, "numbers": [1, 0.1, True]}
    heard = unpacked(memoryview(packed(said)))
    for one, other in zip(arrays, [heard["made"][0], *heard["made"][1]["deep"]], strict=True):
        assert other.dtype == one.dtype
        assert other.shape == one.shape
        np.testing.assert_array_equal(other, one)
        assert other.flags.writeable
    assert {**heard, "made": None} == {**said, "made": None}


def test_plain_json_is_said_too() -> None:
    for value in (None, True, 3, "é", [], {"a": [1, [2.5, None]]}):
        assert unpacked(packed(value)) == value


def test_objects_are_not_sent() -> None:
    for value in (np.array([object()]), {1}, np.array(["a", None], object)):
        with pytest.raises(TypeError, match="neither JSON nor an array"):
            packed([value])
