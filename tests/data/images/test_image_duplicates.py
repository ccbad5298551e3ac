"""Copies are found by hand-made pictures: exact, near, and those that only have the same hash."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.data.images import duplicates
from expunge.data.images.duplicates import exact_copies, near_copies, thumbnails


def scene(seed: int, side: int = 32) -> np.ndarray:
    """Smooth blobs, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 200, (8, 8, 3))
    return coarse.repeat(side // 8, 0).repeat(side // 8, 1).astype(np.uint8)


def test_exact_copies_name_the_first_of_equals() -> None:
    a, b, c = scene(1), scene(2), scene(3)
    assert exact_copies(np.stack([a, c, b]), np.stack([b, a, a])) == [(0, 1), (2, 0)]
    assert exact_copies(np.stack([a]), np.empty((0, 32, 32, 3), np.uint8)) == []


def test_near_copies_are_those_that_look_alike() -> None:
    kept = np.stack([scene(seed) for seed in range(20)])
    brighter = kept[7] + np.uint8(5)
    noisy = np.clip(kept[11].astype(int) + np.random.default_rng(0).integers(-9, 10, kept[11].shape), 0, 255)
    assert near_copies(np.stack([scene(50), brighter, noisy.astype(np.uint8)]), kept) == [(1, 7), (2, 11)]


def test_a_like_hash_alone_is_no_copy() -> None:
    black, white = np.zeros((1, 16, 16, 3), np.uint8), np.full((1, 16, 16, 3), 255, np.uint8)
    assert near_copies(black, white) == []
    assert near_copies(black, np.concatenate([white, black])) == [(0, 1)]


def test_like_values_alone_are_no_copy() -> None:
    up = np.tile(np.arange(0, 18, 2, dtype=np.uint8)[None, None, :, None], (1, 8, 1, 3))
    assert near_copies(up, up[:, :, ::-1]) == []


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    forget, kept = np.stack([scene(seed) for seed in (3, 40, 5, 3)]), np.stack([scene(seed) for seed in range(7)])
    whole = near_copies(forget, kept)
    monkeypatch.setattr(duplicates, "CHUNK", 2)
    assert near_copies(forget, kept) == whole == [(0, 3), (2, 5), (3, 3)]


def test_no_pictures_have_no_copies() -> None:
    none = np.empty((0, 4, 4, 3), np.uint8)
    assert near_copies(none, none) == near_copies(none + np.uint8(0), scene(0)[None, :4, :4]) == []
    assert near_copies(scene(0)[None], none) == []


def test_thumbnails_average_parts_of_pixels() -> None:
    # Two rows and three columns: the first row of four cells lies in the first pixel row, and columns come in threes.
    grey = np.array([[0, 90, 180], [60, 60, 60]], np.uint8)
    small = thumbnails(grey[None, :, :, None].repeat(3, 3))[0]
    np.testing.assert_allclose(small[0], [0, 0, 0, 90, 90, 90, 180, 180, 180], atol=1e-4)
    np.testing.assert_allclose(small[4], np.full(9, 60), atol=1e-4)
    # Ten columns on nine cells: the first cell holds pixel 0 whole and a ninth of pixel 1.
    ramp = np.zeros((1, 8, 10, 3), np.uint8)
    ramp[:, :, 1] = 100
    np.testing.assert_allclose(thumbnails(ramp)[0, 0, :3], [10, 80, 0], atol=1e-4)
