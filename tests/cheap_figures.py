"""Figures as empty frames: painting and drawing them is half of a run of a tiny model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from matplotlib.figure import Figure

from expunge.report import svg

AS_SVG = svg.as_svg
"how a figure is painted and drawn"


def frame(paint: Callable[[], Figure]) -> str:
    """In place of `AS_SVG`; the page puts title and description into it."""
    return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'


@contextmanager
def drawing() -> Iterator[None]:
    """Inside, figures are as they are."""
    with patch.object(svg, "as_svg", AS_SVG):
        yield
