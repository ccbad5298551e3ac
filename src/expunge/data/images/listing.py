"""Pictures that were found and not yet decoded, and their decoding into one array."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expunge.data.images.decoding import decode
from expunge.errors import DataError

Pictures = Iterator[tuple[int, np.ndarray | DataError]]
"row and picture (height, width, 3) uint8, or why it cannot be read; in any order of rows"
SHOWN = 5
"how many of many names an error or note gives"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Every row of a source, with a way to decode the first so many."""

    ids: Sequence[str]
    columns: Mapping[str, np.ndarray]
    "each (n,) int64, float64 or text"
    decode: Callable[[int, int | None], Pictures]
    "pictures of the first `count` rows, as squares of `size` where it is given"
    source: str
    label: str | None = None
    "the column of labels where the user names none"
    class_names: Mapping[str, tuple[str, ...]] | None = None
    "columns of numbers that index names"
    notes: tuple[str, ...] = ()


def decode_files(files: Sequence[Path], names: Sequence[str]) -> Callable[[int, int | None], Pictures]:
    """The `decode` of a listing of single files."""

    def pictures(count: int, size: int | None) -> Pictures:
        for row in range(count):
            yield row, attempt(files[row], names[row], size)

    return pictures


def attempt(data: Path | bytes, name: str, size: int | None) -> np.ndarray | DataError:
    try:
        return decode(data, name, size)
    except DataError as error:
        return error


def decode_rows(
    listing: Listing, count: int, size: int | None, skip_unreadable: bool
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The first `count` pictures as one array (rows kept, height, width, 3), which rows they are, and notes.

    Raises:
        DataError: an unreadable picture (unless skipped), pictures of two sizes, nothing readable.
    """
    pixels: np.ndarray | None = None
    first = 0
    unreadable: dict[int, DataError] = {}
    for row, picture in listing.decode(count, size):
        if isinstance(picture, DataError):
            if not skip_unreadable:
                raise picture
            unreadable[row] = picture
            continue
        if pixels is None:
            pixels, first = np.zeros((count, *picture.shape), np.uint8), row
        if picture.shape != pixels.shape[1:]:
            raise DataError(
                f"the pictures of {listing.source} differ in size",
                seen=f"{listing.ids[first]} is {_size(pixels[first])}, {listing.ids[row]} is {_size(picture)}",
                allowed="one size for all, or a size to bring them to",
                next_step="give a size, such as 64",
            )
        pixels[row] = picture
    if pixels is None:
        raise DataError(
            f"none of the {count} pictures of {listing.source} can be read",
            seen=str(next(iter(unreadable.values()))).splitlines()[0],
            next_step="check the files",
        )
    rows = np.array([row for row in range(count) if row not in unreadable], np.int64)
    if not unreadable:
        return pixels, rows, ()
    named = some([listing.ids[row] for row in sorted(unreadable)])
    return pixels[rows], rows, (f"unreadable and skipped: {len(unreadable)} of {count} pictures: {named}",)


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more
