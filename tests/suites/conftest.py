"""Pages of suites are told by their figures' words too."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _figures_painted(painted: None) -> None:
    """Their words are there."""
