"""Check for missing pictures of a recipe. Without torch."""

from __future__ import annotations

from typing import Any

from expunge.data.images.reading import refuse_missing as refuse_missing_source
from expunge.runs.folder import RunFolder


def refuse_missing(recipe: Any, folder: RunFolder | None, weights: bool) -> None:
    """Raise `DataError` for pictures of a classifier's or generator's recipe that do not exist; models are not
    checked."""
    for name in ("data", "test_data", "retain"):
        if (source := getattr(recipe, name, None)) is not None:
            refuse_missing_source(source)
