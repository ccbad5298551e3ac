"""An image set refuses ids that occur twice, and takes and digests rows."""

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


def test_two_pictures_of_one_id_are_refused() -> None:
    with pytest.raises(DataError, match="two pictures a"):
        four(ids=("a", "b", "a", "d"))


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
