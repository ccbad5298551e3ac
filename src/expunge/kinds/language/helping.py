"""What other processes do for the first one while it samples and measures: write texts with the same stored model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expunge.core.processes import ENDS, JOBS
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.sampling import continue_batches
from expunge.kinds.language.task import CausalLM
from expunge.models.source import ModelSource
from expunge.train.precision import Precision

_HELD: dict[str, LazyModel] = {}
"the model that was asked for last"


def _task(stored: dict[str, Any]) -> CausalLM:
    key = str(stored)
    if key not in _HELD:
        _release()
        adapter, assisted = (None if stored[each] is None else Path(stored[each]) for each in ("adapter", "assisted"))
        source = ModelSource(stored["name"], Path(stored["folder"]), {}, adapter=adapter, assisted=assisted)
        _HELD[key] = LazyModel(source, Precision(stored["bf16"]), stored["as_stored"])
    return _HELD[key]()


def _release() -> None:
    for held in _HELD.values():
        held.release()
    _HELD.clear()


def _texts(about: Any, own: Sequence[int]) -> list[Any]:
    stored, batches, max_new_tokens, sampling = about
    return _task(stored).write([batches[number] for number in own], max_new_tokens, sampling) if own else []


def _continuations(about: Any, own: Sequence[int]) -> list[Any]:
    stored, batches, sampling = about
    return continue_batches(_task(stored), [batches[number] for number in own], sampling) if own else []


JOBS.update(texts=_texts, continuations=_continuations)
ENDS.append(_release)
