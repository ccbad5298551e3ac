"""Options that the commands of several suites share, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Models:
    """Which model is to forget, by which methods, and where that is kept: the same for every suite of questions."""

    model: str = "smollm2-135m"
    "The model that is taught, or that forgets what it knows: a starter's name, a folder, or an id."
    methods: str = "all"
    "Names with commas between them, or all."
    seeds: int = 1
    "Models of each method."
    out: Path | None = None
    "The suite's folder; if not given, runs/ and its name, such as runs/tofu."


@dataclass(frozen=True)
class Untaught(Models):
    """The same where the model knows before, and nothing is taught."""

    rows: int | None = None
    "Ask at most this many questions of each split, evenly spread; if not given, all."


@dataclass(frozen=True)
class OfRmu(Untaught):
    """The same, with the methods that WMDP is known for."""

    methods: str = "rmu,adaptive_rmu"
    "Names with commas between them, or all."


@dataclass(frozen=True)
class OfSeveral(Models):
    """The same, where each model is attacked."""

    seeds: int = 3
    "Models of each method, each attacked with a seed of its own."


@dataclass(frozen=True)
class Taught:
    """How the model and the oracle are taught."""

    epochs: float = 5.0
    "Times the model and the oracle read what they are taught."
    learning_rate: float = 1e-4
    "Highest learning rate of teaching."
    batch: int = 8
    "Rows in a step of teaching."
    seed: int = 0
    "Seed of the order of teaching."


@dataclass(frozen=True)
class Teaching(Taught):
    """How the model and the oracle are taught, and what is asked of all models."""

    rows: int | None = None
    "Ask at most this many questions of each split, evenly spread; if not given, all."
    new_tokens: int = 200
    "Tokens of an answer, at most."
    controls: str = ""
    "Controls that are asked too, weights unchanged: prompt_guardrail, in_context, or all; names with commas between them."


MODELS, UNTAUGHT, OF_RMU, OF_SEVERAL = Models(), Untaught(), OfRmu(), OfSeveral()
TAUGHT, TEACHING = Taught(), Teaching()
