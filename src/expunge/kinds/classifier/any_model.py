"""A classifier of either kind: one network, or shards that answer together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from expunge.kinds.classifier.model import load_classifier
from expunge.kinds.classifier.task import ImageClassifier
from expunge.models.digest import sharded_folder
from expunge.models.source import ModelSource, locate
from expunge.runs.plugins import reference


def is_sharded(name: str) -> bool:
    """Whether a model's name is that of a folder of shards, or of a run that holds one."""
    return sharded_folder(name) is not None


def _of_shards(function: str) -> Any:
    """A function of the kind that builds on this one, imported only where a model is sharded."""
    return reference(f"expunge.kinds.sharded_classifier.model:{function}")


def locate_classifier(name: str, revision: str | None = None) -> ModelSource:
    """A classifier by its folder or id."""
    found: ModelSource = _of_shards("locate_sharded")(name) if is_sharded(name) else locate(name, revision)
    return found


def load_any(source: ModelSource, classes: Sequence[str], size: int) -> ImageClassifier:
    """Load what `locate_classifier` found.

    Raises:
        ModelError: as `load_classifier` has it; a sharded model of other classes or another size.
    """
    load = _of_shards("load_sharded") if is_sharded(str(source.folder)) else load_classifier
    loaded: ImageClassifier = load(source, classes, size)
    return loaded
