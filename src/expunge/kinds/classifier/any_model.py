"""A classifier of either kind: one network, or shards that answer together."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from expunge.kinds.classifier.model import load_classifier
from expunge.kinds.classifier.task import ImageClassifier
from expunge.models.digest import INDEX
from expunge.models.source import ModelSource, locate

SHARDED = "expunge.kinds.sharded_classifier.model"
"imported only where a model is sharded: that kind builds on this one"


def is_sharded(name: str) -> bool:
    """Whether a model's name is that of a folder of shards, or of a run that holds one."""
    return any((folder / INDEX).is_file() for folder in (Path(name), Path(name) / "model"))


def _sharded() -> Any:
    return import_module(SHARDED)


def locate_classifier(name: str, revision: str | None = None) -> ModelSource:
    """A classifier by its folder or id."""
    if not is_sharded(name):
        return locate(name, revision)
    found: ModelSource = _sharded().locate_sharded(name)
    return found


def load_any(source: ModelSource, classes: Sequence[str], size: int) -> ImageClassifier:
    """Load what `locate_classifier` found.

    Raises:
        ModelError: as `load_classifier` has it; a sharded model of other classes or another size.
    """
    if not is_sharded(str(source.folder)):
        return load_classifier(source, classes, size)
    loaded: ImageClassifier = _sharded().load_sharded(source, classes, size)
    return loaded
