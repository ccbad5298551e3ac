"""Figures are drawn where that may go wrong; other tests of reports make do with their words."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG

from cheap_figures import PRINT_SVG


@pytest.fixture(scope="module", autouse=True)
def _figures_painted(painted: None) -> None:
    """Their words are there."""


@pytest.fixture
def figures_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures as they are, for a test."""
    monkeypatch.setattr(FigureCanvasSVG, "print_svg", PRINT_SVG)
