"""Pictures of the forget set for a page, from the data if it is still on this machine; never from a hub."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from expunge.data.images.reading import read_images
from expunge.errors import ExpungeError

SIDE = 96
"pixels of a picture on the page"


def faces(recipe: Mapping[str, Any], wanted: Mapping[str, str | None]) -> dict[str, str]:
    """`data:` URIs (JPEG, `SIDE` pixels) of pictures by id; missing or changed ones are left out.

    Args:
        recipe: the fields of the recipe: `data` and `images` describe how pictures are read.
        wanted: the class of each picture by its id. A picture with another class now is not the same picture.
    """
    source, settings = os.path.expanduser(str(recipe.get("data") or "")), recipe.get("images") or {}
    if not wanted or not source or not Path(source).exists():
        return {}
    try:
        images = read_images(
            source,
            size=SIDE,
            label=settings.get("label"),
            limit=settings.get("limit"),
            bins=settings.get("bins"),
            skip_unreadable=True,
        )
    except (ExpungeError, OSError):  # changed since: the page does without
        return {}
    rows = {name: row for row, name in enumerate(images.ids)}
    return {
        name: _uri(images.pixels[rows[name]])
        for name, kind in wanted.items()
        if name in rows and kind in (None, images.classes[int(images.labels[rows[name]])])
    }


def _uri(pixels: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
