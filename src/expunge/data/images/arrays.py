"""An `.npz` file: `images` and an array for each column."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from expunge.data.images.decoding import resize
from expunge.data.images.folder import row_names
from expunge.data.images.listing import Listing, Pictures, some
from expunge.data.images.path_rows import LABEL_COLUMNS
from expunge.data.images.table import missing_column
from expunge.errors import DataError

IMAGES = "images"
CLASSES = "classes"
MAX_BYTES = 8 << 30
"most bytes that the arrays may take unpacked"


def list_arrays(path: Path) -> Listing:
    """`images` (n, height, width) or (n, height, width, 3) uint8; other arrays of n numbers or texts are columns.

    `ids` names the pictures, and `classes` what whole-number labels index; without them rows and numbers do.
    Nothing pickled is read.

    Raises:
        DataError: a damaged or huge file, pickled contents, no `images`, a wrong shape or kind.
    """
    arrays = _load(path)
    if IMAGES not in arrays:
        raise missing_column(IMAGES, list(arrays), str(path))
    images = arrays.pop(IMAGES)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise DataError(
            f"{path}: `{IMAGES}` is not an array of pictures",
            seen=f"shape {images.shape}, {images.dtype}",
            allowed="shape (n, height, width) or (n, height, width, 3), uint8 from 0 to 255",
            next_step=_hint(images),
        )
    classes = arrays.pop(CLASSES, None)
    for name in LABEL_COLUMNS:
        if name in arrays and arrays[name].shape != (len(images),):
            raise DataError(
                f"{path}: `{name}` does not hold a label for each picture",
                seen=f"shape {arrays[name].shape} for {len(images)} pictures",
                allowed=f"shape ({len(images)},)",
            )
    columns = {name: _column(array) for name, array in arrays.items() if array.shape == (len(images),)}
    left = [name for name in arrays if columns.get(name) is None]
    kept = {name: column for name, column in columns.items() if column is not None}
    ids = kept.pop("ids").tolist() if "ids" in kept else row_names(len(images))
    label = next((name for name in kept if name in LABEL_COLUMNS), None)

    def pictures(count: int, size: int | None) -> Pictures:
        for row in range(count):
            picture = images[row] if images.ndim == 4 else np.repeat(images[row][:, :, None], 3, axis=2)
            yield row, picture if size is None else np.asarray(resize(Image.fromarray(picture), size))

    return Listing(
        ids=[str(name) for name in ids],
        columns=kept,
        decode=pictures,
        source=str(path),
        label=label,
        class_names={label: tuple(map(str, classes))} if label is not None and classes is not None else None,
        notes=(f"left out, since they are not one number or text a picture: {some(left)}",) if left else (),
    )


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MAX_BYTES:
            raise DataError(
                f"{path} is too large to unpack",
                seen=f"{unpacked:,} bytes",
                allowed=f"at most {MAX_BYTES:,}",
                next_step="split it, or save the pictures as files",
            )
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except DataError:
        raise
    except Exception as error:  # zip, zlib and numpy have many ways to say that a file is damaged
        pickled = "allow_pickle" in str(error)
        raise DataError(
            f"{path} cannot be read",
            seen="an array of Python objects" if pickled else str(error).splitlines()[0],
            allowed="an .npz file of plain arrays",
            next_step="save text as np.str_ and numbers as numbers" if pickled else "write it again: numpy.savez",
        ) from error


def _hint(images: np.ndarray) -> str:
    if images.ndim == 4 and images.shape[1] == 3:
        return "put the channels last: images.transpose(0, 2, 3, 1)"
    if images.ndim == 4 and images.shape[3] == 1:
        return "drop the last axis: images[..., 0]"
    if images.dtype.kind == "f":
        return "scale to 0 to 255 and convert: np.rint(images * 255).astype(np.uint8)"
    return "convert the array and save it again"


def _column(array: np.ndarray) -> np.ndarray | None:
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        return array.astype(np.float64)
    return array if array.dtype.kind == "U" else None
