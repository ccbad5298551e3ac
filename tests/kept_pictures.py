"""Looks for pictures in the files of a run folder: as pixels, and as pictures in a page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from small import files

IN_PAGE = re.compile(r"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")


def pixels_of(picture: Path) -> np.ndarray:
    """(3, height, width) uint8."""
    return np.moveaxis(np.asarray(Image.open(picture).convert("RGB")), 2, 0)


def kept_pictures(folder: Path, pictures: Iterable[np.ndarray]) -> set[str]:
    """Files in which one of some pictures stands, (3, height, width) uint8 each: a channel's bytes, in any order of the
    channels, as integers or floats; or as a picture in a page; and files of arrays that hold pictures of any kind."""
    channels = [channel for picture in pictures for channel in picture]
    wanted = [form for channel in channels for form in _forms(channel)]
    found = set()
    for file in files(folder):
        content = file.read_bytes()
        if file.suffix in (".html", ".json", ".jsonl", ".md"):
            content += b"".join(_decoded(text) for text in IN_PAGE.findall(content.decode("utf-8")))
        if any(form in content for form in wanted) or (file.suffix == ".npz" and _holds_pictures(file)):
            found.add(file.relative_to(folder).as_posix())
    return found


def _forms(channel: np.ndarray) -> list[bytes]:
    unit = np.ascontiguousarray(channel, np.float32)
    return [np.ascontiguousarray(channel).tobytes(), unit.tobytes(), (unit / 255).tobytes()]


def _decoded(text: str) -> bytes:
    return np.moveaxis(np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))), 2, 0).tobytes()


def _holds_pictures(file: Path) -> bool:
    with np.load(file, allow_pickle=False) as stored:
        return any(stored[name].ndim == 4 and stored[name].dtype == np.uint8 and stored[name].size for name in stored)
