"""Figures as empty frames, or as their words alone: painting and drawing them is half of a run of a tiny model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any
from unittest.mock import patch
from xml.sax.saxutils import escape

from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from expunge.report import svg

AS_SVG, PRINT_SVG = svg.as_svg, FigureCanvasSVG.print_svg
"how a figure is painted, and how it is drawn then"


def frame(paint: Callable[[], Figure]) -> str:
    """In place of `AS_SVG`; the page puts title and description into it."""
    return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'


@contextmanager
def drawing() -> Iterator[None]:
    """Inside, figures are as they are."""
    with patch.object(svg, "as_svg", AS_SVG), patch.object(FigureCanvasSVG, "print_svg", PRINT_SVG):
        yield


def _words(artist: Artist) -> Iterator[str]:
    if isinstance(artist, Axis):  # making its other ticks would take most of the time
        yield artist.label.get_text()
        yield from (tick.label1.get_text() for tick in vars(artist).get("majorTicks", ()))
        return
    if isinstance(artist, Text):
        yield artist.get_text()
    for child in artist.get_children():
        yield from _words(child)


def print_words(canvas: FigureCanvasSVG, file: IO[str], **options: Any) -> None:
    """In place of `PRINT_SVG`."""
    words = sorted({each for each in _words(canvas.figure) if each})
    lines = "".join(f"<text>{escape(each)}</text>" for each in words)
    file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">{lines}</svg>')
