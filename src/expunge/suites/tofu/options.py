"""Options that the commands of several suites share, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Models:
    """The model, the methods and the folder: the same for every suite of questions."""

    model: str = "smollm2-135m"
    "The model that is taught, or that forgets what it knows: a starter's name, a folder, or an id."
    methods: str = "all"
    "Names separated by commas, or all."
    seeds: int = 1
    "Models of each method."
    out: Path | None = None
    "The suite's folder; default: runs/ and its name, such as runs/tofu."


@dataclass(frozen=True)
class Untaught(Models):
    """The same for suites where the model knows the target before, and nothing is taught."""

    rows: int | None = None
    "Ask at most this many questions of each split, evenly spread; default: all."


@dataclass(frozen=True)
class OfRmu(Untaught):
    """The same, with WMDP's usual methods."""

    methods: str = "rmu,adaptive_rmu"
    "Names separated by commas, or all."


@dataclass(frozen=True)
class OfSeveral(Models):
    """The same for suites that attack each model."""

    seeds: int = 3
    "Models of each method, each attacked with its own seed."


@dataclass(frozen=True)
class Taught:
    """How the model and the oracle are taught."""

    epochs: float = 5.0
    "Epochs of teaching the model and the oracle."
    learning_rate: float = 1e-4
    "Highest learning rate of teaching."
    batch: int = 8
    "Rows in a step of teaching."
    seed: int = 0
    "Seed of the order of teaching."


@dataclass(frozen=True)
class Teaching(Taught):
    """How the model and the oracle are taught, and the questions for all models."""

    rows: int | None = None
    "Ask at most this many questions of each split, evenly spread; default: all."
    new_tokens: int = 200
    "Tokens of an answer, at most."
    controls: str = ""
    "Controls to ask, too, with unchanged weights: prompt_guardrail, in_context, or all; names separated by commas."


MODELS, UNTAUGHT, OF_RMU, OF_SEVERAL = Models(), Untaught(), OfRmu(), OfSeveral()
TAUGHT, TEACHING = Taught(), Teaching()
