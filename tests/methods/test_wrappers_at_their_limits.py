"""At its identity limit every wrapper has the gradient of what it wraps, around every method that it wraps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from expunge.errors import RecipeError
from expunge.runs.registry import make_method, working_on
from expunge.train.gradients import OwnGradient, add_gradients
from expunge.train.loop import Stream
from expunge.train.runtime import Runtime
from expunge.train.step import Batch, Step
from known_sets import known_tables
from tiny import load_task

LIMITS: dict[str, dict[str, Any]] = {
    "entropy_term": {"forget_entropy": 0.0, "retain_entropy": 0.0},
    "gru": {"floor": 0.0},
    "lat": {"iterations": 0, "layers": (0.5,)},
    "sure": {"percentile": 0.0},
    "tar": {"inner_steps": 1, "inner_learning_rate": 1e-30, "tamper": "method", "tamper_weight": 1.0},
}
INNER: dict[str, dict[str, Any]] = {
    **{name: {"layer": 2, "trained_layers": 1} for name in ("adaptive_rmu", "rmu")},
    "altpo": {"alternatives": 2, "alternative_tokens": 4},
    "circuit_breakers": {"layers": (1, 2)},
    "elm": {"fluency_tokens": 4},
    "meow": {"retain_weight": 0.5},
    "undial": {"retain_weight": 0.5},
}
"fields for a model of two layers, for few tokens, and so that there is a retain term"


def pairs() -> Iterator[tuple[str, str]]:
    for name in working_on("causal_lm"):
        for wrapper, fields in LIMITS.items():
            try:
                make_method({"name": wrapper, "of": {"name": name, **INNER.get(name, {})}, **fields})
            except RecipeError:
                continue
            yield wrapper, name


PAIRS = list(pairs())


def one(batch: Batch) -> Stream:
    def load(_rows: Sequence[list[int]], own: Sequence[int]) -> Iterator[tuple[Batch, int]]:
        yield from ((batch, batch.size) for _ in own)

    return Stream(SimpleNamespace(batch=lambda number: [number]), load)  # type: ignore[arg-type]


def test_many_methods_are_wrapped() -> None:
    assert {wrapper for wrapper, _ in PAIRS} == set(LIMITS)
    assert ("sure", "idk_ap") in PAIRS
    assert len(PAIRS) > 80


@pytest.mark.parametrize("name", sorted({name for _, name in PAIRS}))
def test_the_gradient_is_the_methods(name: str, tiny_model_folder: Path, tmp_path: Path) -> None:
    spec = {"name": name, **INNER.get(name, {})}
    method, task = make_method(spec), load_task(tiny_model_folder)
    forget, retain = known_tables(method, task, tmp_path)
    drawn = {"forget": forget.batch([0, 1]), "retain": retain.batch([0, 1])}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # away from the original model, where some losses are flat
        for each in task.model.parameters():
            each.add_(0.02 * torch.randn(each.shape, generator=generator))
    named = {key: each for key, each in task.model.named_parameters() if method.trains(key)}

    def taken() -> dict[str, torch.Tensor]:
        found = {key: torch.zeros_like(each) if each.grad is None else each.grad for key, each in named.items()}
        task.model.zero_grad()
        return found

    method.loss(
        Step(task, drawn["forget"], drawn["retain"] if method.draws_retain else None, progress=0.5)
    ).total.backward()
    plain = taken()
    size = max(float(each.abs().max()) for each in plain.values())
    assert size > 0
    for wrapper in (wrapper for wrapper, inner in PAIRS if inner == name):
        around = make_method({"name": wrapper, "of": spec, **LIMITS[wrapper]})
        sets = ["forget", *(["retain"] if around.draws_retain else [])]
        streams = [one(drawn[each]) for each in sets]
        numbers = range(1), range(1)
        if around.makes_gradient():
            OwnGradient(task, tuple(sets), around.make_gradient, lambda: 0.5).made(
                task.model, list(named.values()), streams, Runtime(), numbers
            )
        else:

            def loss(*batches: Batch, of: Any = around, sets: list[str] = sets) -> Any:
                by_set = dict(zip(sets, batches, strict=True))
                step = Step(task, by_set["forget"], by_set.get("retain"), progress=0.5)
                return of.loss(step).total, {}

            add_gradients(streams, Runtime(), numbers, loss)
        for key, value in taken().items():
            torch.testing.assert_close(value, plain[key], rtol=1e-4, atol=1e-5 * size, msg=f"{wrapper}: {key}")
