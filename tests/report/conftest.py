"""Figures are drawn where that may go wrong; other tests of reports make do with their frames."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cheap_figures import drawing


@pytest.fixture
def figures_drawn() -> Iterator[None]:
    """Figures as they are, for a test."""
    with drawing():
        yield
