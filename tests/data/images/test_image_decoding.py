"""Every kind of picture becomes red, green and blue; damaged and oversized ones are named."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from expunge.data.images import decoding
from expunge.data.images.decoding import decode
from expunge.errors import DataError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def one(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (3, 2), colour)  # type: ignore[arg-type]


def pixel(data: bytes) -> list[int]:
    picture = decode(data, "x", None)
    assert picture.shape == (2, 3, 3)
    assert picture.dtype == np.uint8
    return picture[0, 0].tolist()


def test_every_mode_becomes_rgb() -> None:
    assert pixel(encoded(one("L", 77))) == [77, 77, 77]
    assert pixel(encoded(one("1", 1))) == [255, 255, 255]
    assert pixel(encoded(one("RGB", (1, 2, 3)))) == [1, 2, 3]
    assert pixel(encoded(one("P", 0))) == [0, 0, 0]
    assert pixel(encoded(one("RGB", (9, 8, 7)), "BMP")) == [9, 8, 7]
    assert pixel(encoded(one("RGB", (200, 10, 10)), "WEBP", lossless=True)) == [200, 10, 10]
    red = pixel(encoded(one("CMYK", (0, 255, 255, 0)), "JPEG"))
    assert red[0] > 240
    assert max(red[1:]) < 15


def test_transparency_is_laid_on_white() -> None:
    assert pixel(encoded(one("RGBA", (10, 20, 30, 0)))) == [255, 255, 255]
    assert pixel(encoded(one("RGBA", (10, 20, 30, 255)))) == [10, 20, 30]
    assert pixel(encoded(one("LA", (0, 51)))) == [204, 204, 204]
    assert pixel(encoded(one("P", 0), transparency=0)) == [255, 255, 255]


def test_sixteen_bits_are_scaled_not_cut_off() -> None:
    assert pixel(encoded(Image.fromarray(np.full((2, 3), 128 * 257, np.uint16)))) == [128, 128, 128]


def test_a_photograph_is_turned_upright() -> None:
    image = Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    assert decode(encoded(image, exif=exif), "x", None)[0, :, 0].tolist() == [0, 255]


def test_shrinking_averages() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    small = decode(encoded(Image.fromarray(stripes)), "x", 2)
    assert small.shape == (2, 2, 3)
    assert abs(small.astype(int) - 100).max() <= 8


def test_a_cut_file_and_a_false_one_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for kind in ("PNG", "JPEG", "BMP"):
        whole = encoded(Image.fromarray(noise), kind)
        path = tmp_path / f"half.{kind.lower()}"
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=rf"half\.{kind.lower()} cannot be read"):
            decode(path, str(path), None)
    with pytest.raises(DataError, match="no picture of a known kind"):
        decode(b"hello", "x", None)
    with pytest.raises(DataError, match="there is no picture"):
        decode(tmp_path / "gone.png", "gone.png", None)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        decode(tmp_path / "folder.png", "folder.png", None)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">4sIIBBBBB", b"IHDR", 20_000, 20_000, 8, 2, 0, 0, 0)  # claims 400 million pixels
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    bomb += encoded(one("RGB", (0, 0, 0)))[33:]
    with pytest.raises(DataError, match="too large to decode"):
        decode(bomb, "bomb.png", 32)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 5)
    with pytest.raises(DataError, match="3 x 2 pixels"):
        decode(encoded(one("L", 0)), "x", None)
