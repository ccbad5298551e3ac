"""The plan of a suite: what is taught to which model, and the methods and their forget sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from expunge.kinds.language.measures.question_answers import NEW_TOKENS
from expunge.suites.tofu.sets import QuestionSets


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Settings of teaching. The settings of TOFU's authors are 5 epochs in batches of 32.

    Attributes:
        model: starter name, folder or hub id.
        epochs, learning_rate, batch: of teaching, the same for the model and for the oracle.
        new_tokens: tokens of an answer, at most.
        seed: seed of the order of teaching.
    """

    model: str = "smollm2-135m"
    epochs: float = 5.0
    learning_rate: float = 1e-4
    batch: int = 8
    block_size: int = 512
    new_tokens: int = NEW_TOKENS
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan of a suite.

    Attributes:
        name: of the suite.
        sets: what is taught, forgotten and asked.
        lesson: what is taught to which model, and how.
        asked_for: the options that led to `sets`, for the record.
        methods: as `cells.wanted_methods` gives them.
        controls: names of `controls.CONTROLS`, which the model before is asked with.
        overrides: fields of all cells' recipes.
        seeds: models of each method.
        all_methods: whether methods that cannot be run on these sets are left out.
    """

    name: str
    sets: QuestionSets
    lesson: Lesson
    asked_for: Mapping[str, Any]
    methods: Mapping[str, Mapping[str, Any]]
    controls: Sequence[str] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    all_methods: bool = False
