"""The same picture twice: exact copies by digest, near copies by a hash of its shape."""

from __future__ import annotations

import hashlib

import numpy as np

CHUNK = 512
"pictures looked at together"
NEAR_BITS = 3
"of 64 bits of the hash, most in which near copies differ"
NEAR_VALUES = 12.0
"of 255, most by which the 8 x 9 grey values of near copies differ (root of the mean square)"
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def exact_copies(pixels: np.ndarray, of: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row of `pixels`, first row of `of`) with equal pixels, each row of `pixels` at most once."""
    first: dict[bytes, int] = {}
    for row, picture in enumerate(of):
        first.setdefault(_digest(picture), row)
    found = ((row, first.get(_digest(picture))) for row, picture in enumerate(pixels))
    return [(row, other) for row, other in found if other is not None]


def _digest(picture: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(picture).data, digest_size=16).digest()


def near_copies(pixels: np.ndarray, of: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row of `pixels`, nearest row of `of`) that look alike, exact copies included.

    Both pictures are averaged to 8 x 9 grey values; the 64 signs of the steps from left to right (difference hash)
    must agree but for `NEAR_BITS`, and the values themselves but for `NEAR_VALUES`: two plain skies or two faces seen
    from the front have like signs and are not copies.
    """
    others = thumbnails(of)
    found: list[tuple[int, int]] = []
    for start in range(0, len(pixels), CHUNK):
        mine = thumbnails(pixels[start : start + CHUNK])
        distance = np.full(len(mine), np.inf, np.float32)
        nearest = np.zeros(len(mine), np.int64)
        for first in range(0, len(others), CHUNK):
            apart = _apart(mine, others[first : first + CHUNK])
            column = apart.argmin(axis=1)
            least = apart[np.arange(len(mine)), column]
            nearest[least < distance] = first + column[least < distance]
            distance = np.minimum(distance, least)
        found += [(start + int(row), int(nearest[row])) for row in np.flatnonzero(distance <= NEAR_VALUES)]
    return found


def _apart(mine: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances of grey values, (mine, others); infinite where the hashes differ in more than `NEAR_BITS`."""
    bits = (64 - _signs(mine) @ _signs(others).T) / 2
    a, b = mine.reshape(len(mine), -1) - 128, others.reshape(len(others), -1) - 128  # centred: less is rounded off
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    distance = np.sqrt(np.maximum(squares, 0) / a.shape[1])
    return np.where(bits <= NEAR_BITS, distance, np.float32(np.inf))


def thumbnails(pixels: np.ndarray) -> np.ndarray:
    """Grey values averaged over a grid of 8 rows and 9 columns, (n, 8, 9) float32."""
    down, across = _averaging(pixels.shape[1], 8), _averaging(pixels.shape[2], 9)
    found = np.zeros((len(pixels), 8, 9), np.float32)
    for start in range(0, len(pixels), CHUNK):
        grey = pixels[start : start + CHUNK].astype(np.float32) @ _LUMA
        found[start : start + CHUNK] = down @ grey @ across.T
    return found


def _averaging(length: int, cells: int) -> np.ndarray:
    """(cells, length): row i averages the i-th of `cells` equal parts, pixels on a border counted by their share."""
    edges = np.linspace(0, length, cells + 1)
    pixel = np.arange(length)
    share = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(share, 0, None) * cells / length).astype(np.float32)


def _signs(grey: np.ndarray) -> np.ndarray:
    """+1 where a value is greater than its left neighbour, else -1; (n, 64)."""
    steps = np.diff(grey, axis=2).reshape(len(grey), 64)
    return np.where(steps > 0, np.float32(1), np.float32(-1))
