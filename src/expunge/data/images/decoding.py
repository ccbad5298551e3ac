"""A picture from a file or bytes, as an array of red, green and blue."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from expunge.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 1 << 27
"most pixels in one picture or sheet: 134 million, 400 MB decoded"
_MARGIN = 3
"a large picture is first reduced coarsely to this many times the size asked for"


def decode(data: Path | bytes, name: str, size: int | None) -> np.ndarray:
    """One picture as (height, width, 3) uint8, resized to a square of `size` pixels where it is given.

    Grey, palette, CMYK and 16-bit pictures become RGB, transparency becomes white, and a photograph is turned the
    way its camera says. Only the first frame of an animation counts.

    Args:
        name: what to call the picture in an error.

    Raises:
        DataError: no picture of `FORMATS`, damaged, cut short, or of more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow finds odd and reads anyway
            return _decode(data, name, size)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise _bomb(name, str(error)) from error
    except FileNotFoundError as error:
        raise DataError(f"there is no picture {name}", next_step="check the path") from error
    except Exception as error:  # a damaged file can make a decoder raise nearly anything
        raise DataError(
            f"the picture {name} cannot be read",
            seen=_reason(error),
            allowed="a whole PNG, JPEG, WebP or BMP file",
            next_step="repair or remove it, or pass over such pictures: --images.skip_unreadable true",
        ) from error


def _decode(data: Path | bytes, name: str, size: int | None) -> np.ndarray:
    if isinstance(data, Path) and data.exists() and not data.is_file():
        raise DataError(f"the picture {name} is not a regular file", allowed="a file on disk")
    with Image.open(data if isinstance(data, Path) else io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _bomb(name, f"{image.width} x {image.height} pixels")
        if size is not None:
            image.draft(None, (_MARGIN * size, _MARGIN * size))  # lets a JPEG decode at a fraction of its size
        image.load()
        upright = ImageOps.exif_transpose(image)
        return np.asarray(resize(to_rgb(upright), size))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any kind of picture as RGB: 16 bits are scaled to 8, transparency is laid on white."""
    if image.mode.startswith("I"):  # Pillow would cut 16 bits off at 255
        values = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def resize(image: Image.Image, size: int | None) -> Image.Image:
    """A square of `size` pixels by bilinear interpolation that averages when it shrinks; unchanged for None."""
    if size is None or image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=float(_MARGIN))


def _bomb(name: str, seen: Any) -> DataError:
    return DataError(
        f"the picture {name} is too large to decode",
        seen=seen,
        allowed=f"at most {MAX_PIXELS:,} pixels",
        next_step="shrink or remove it",
    )


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    if not lines or lines[0].startswith("cannot identify image file"):
        return "no picture of a known kind" if lines else type(error).__name__
    return lines[0]
