"""An image set refuses what does not fit together, and takes, relabels and digests what does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from expunge.data.images.image_set import ImageSet
from expunge.errors import DataError


def four(**changed: Any) -> ImageSet:
    values: dict[str, Any] = {
        "pixels": np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3),
        "labels": np.array([0, 1, 1, 2]),
        "ids": ("a", "b", "c", "d"),
        "columns": {"age": np.array([3, 14, 15, 92])},
        "classes": ("cat", "dog", "eel"),
        "source": "zoo",
    }
    return ImageSet(**(values | changed))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"pixels": np.zeros((4, 2, 2), np.uint8)}, r"shape \(4, 2, 2\), uint8"),
        ({"pixels": np.zeros((4, 2, 2, 4), np.uint8)}, r"shape \(4, 2, 2, 4\)"),
        ({"pixels": np.zeros((4, 2, 2, 3))}, "float64"),
        ({"labels": np.array([0, 1, 1, 3])}, "first that of d\n  seen:    3\n  allowed: 0 to 2"),
        ({"labels": np.array([-1, 1, 1, 0])}, "first that of a\n  seen:    -1"),
        ({"labels": np.array([0.0, 1, 1, 0])}, "float64"),
        ({"labels": np.array([0])}, "labels for 1 pictures"),
        ({"ids": ("a", "b", "a", "d")}, "two pictures a"),
        ({"columns": {"age": np.array([1])}}, "column age for 1 pictures"),
    ],
)
def test_what_does_not_fit_together_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        four(**changed)


def test_take_keeps_everything_of_the_rows_in_their_order() -> None:
    taken = four().take(np.array([3, 0]))
    assert taken.ids == ("d", "a")
    assert taken.labels.tolist() == [2, 0]
    assert taken.columns["age"].tolist() == [92, 3]
    assert taken.pixels[1, 0, 0].tolist() == [0, 1, 2]
    assert len(four().take(np.array([], np.int64))) == 0


def test_a_run_of_rows_shares_the_pixels() -> None:
    images = four()
    assert np.shares_memory(images.take(np.array([1, 2])).pixels, images.pixels)
    assert not np.shares_memory(images.take(np.array([0, 2])).pixels, images.pixels)


def test_the_digest_changes_with_pixels_labels_and_ids() -> None:
    digest = four().digest()
    assert digest == four(source="elsewhere").digest()
    assert digest == four().take(np.arange(4)).digest()
    others = [
        four(pixels=np.zeros((4, 2, 2, 3), np.uint8)),
        four(labels=np.array([0, 1, 1, 1])),
        four(ids=("a", "b", "c", "e")),
    ]
    assert digest not in [other.digest() for other in others]
