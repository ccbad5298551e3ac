"""Figures are drawn here, where other tests make do with their words."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _drawn(drawn: None) -> None:
    pass
