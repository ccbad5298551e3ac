"""Work of the other processes while the first one samples and measures: run texts through the same stored model.

They load it whole, or, if weights are sharded, hold their parts of it until the first one releases it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from expunge.core.processes import ENDS, JOBS
from expunge.kinds.language.lazy import GIVEN, HELD, LazyModel
from expunge.kinds.language.measures.token_trees import scored_here
from expunge.kinds.language.sampling import continue_batches
from expunge.kinds.language.scoring import from_arrays, masses, scored
from expunge.kinds.language.signals import reference_nll, retain_labels, surprise  # noqa: F401 - functions of batches
from expunge.kinds.language.signals.divided import own_batches, own_blocks
from expunge.kinds.language.task import CausalLM
from expunge.models.source import ModelSource
from expunge.train.precision import Precision


def _lazy(stored: dict[str, Any]) -> LazyModel:
    """The model, as last loaded, held in parts, or given to this process."""
    if "given" in stored:
        return GIVEN[stored["given"]]
    stored = {name: value for name, value in stored.items() if name != "exact"}
    key = json.dumps(stored)
    if key not in HELD:
        _release_whole()
        adapter, assisted = (None if stored[each] is None else Path(stored[each]) for each in ("adapter", "assisted"))
        source = ModelSource(stored["name"], Path(stored["folder"]), {}, adapter=adapter, assisted=assisted)
        HELD[key] = LazyModel(source, Precision(stored["bf16"]), stored["as_stored"])
    return HELD[key]


def _release_whole() -> None:
    for key in [key for key in HELD if not json.loads(key)["in_parts"]]:
        HELD.pop(key).release()


def _hold(about: Any, own: Sequence[int]) -> list[Any]:
    return _lazy(about[0]).part("hold")


def _begin(about: Any, own: Sequence[int]) -> list[Any]:
    return _lazy(about[0]).part("begin")


def _drop(about: Any, own: Sequence[int]) -> list[Any]:
    held = HELD.pop(json.dumps(about[0]), None)
    if held is not None:
        held.release()
    return [None]


def _on(work: Callable[[CausalLM, Any, Sequence[int]], list[Any]]) -> Callable[[Any, Sequence[int]], list[Any]]:
    """A job on the model that comes first in its arguments; a process without a piece still takes turns with the
    others."""

    def job(about: Any, own: Sequence[int]) -> list[Any]:
        stored, *rest = about
        if not own and not stored["in_parts"]:
            return []
        task = _lazy(stored)()
        task = task.exact() if stored.get("exact") else task
        return task.in_turns(lambda: work(task, rest, own) if own else [])

    return job


def _blocks(about: Any, own: Sequence[int]) -> list[Any]:
    stored, *rest = about
    if not own and not stored["in_parts"]:
        return []
    base = _lazy(stored)
    return base().in_turns(lambda: own_blocks(base, rest, own) if own else [])


def _texts(task: CausalLM, about: Any, own: Sequence[int]) -> list[Any]:
    batches, max_new_tokens, sampling = about
    return task.write([batches[number] for number in own], max_new_tokens, sampling)


def _continuations(task: CausalLM, about: Any, own: Sequence[int]) -> list[Any]:
    batches, sampling = about
    return continue_batches(task, [batches[number] for number in own], sampling)


def _scores(task: CausalLM, about: Any, own: Sequence[int]) -> list[Any]:
    return scored(task, [from_arrays(about[0][number]) for number in own])


def _masses(task: CausalLM, about: Any, own: Sequence[int]) -> list[Any]:
    return [masses(task, *about[0][number]) for number in own]


def _choices(task: CausalLM, about: Any, own: Sequence[int]) -> list[Any]:
    return scored_here(task, [about[0][number] for number in own])


JOBS.update(scores=_on(_scores), masses=_on(_masses), choices=_on(_choices))
JOBS.update(blocks=_blocks, batches=_on(own_batches))
JOBS.update(hold=_hold, begin=_begin, drop=_drop, texts=_on(_texts), continuations=_on(_continuations))
ENDS.append(_release_whole)
