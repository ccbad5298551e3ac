"""Figures are drawn here, where other tests make do with their words."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG

PRINT_SVG = FigureCanvasSVG.print_svg


@pytest.fixture(scope="module", autouse=True)
def _drawn(_whole_runs_at_less_cost: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasSVG, "print_svg", PRINT_SVG)
        yield
