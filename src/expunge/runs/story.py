"""What the run asks of a kind of model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from expunge.core.processes import first_alone
from expunge.core.score import Score
from expunge.models.source import ModelSource
from expunge.runs.context import Run
from expunge.runs.extras import with_extras
from expunge.runs.kinds import kinds_of, task_of
from expunge.runs.registry import make_method


@dataclass(slots=True, kw_only=True)
class Outcome:
    """The measurements of a run's models, and the record's other facts on them.

    Attributes:
        scores: of all models.
        base: where the base model came from.
        sets: sizes of the sets, by name.
        digests: of the sets and what else was read, by name.
        notes: what a reader of the scores must know.
        record: further parts of the record.
    """

    scores: list[Score]
    base: ModelSource
    sets: dict[str, Any]
    digests: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)


class Story(ABC):
    """What a run does on one kind of model, in the order in which `expunge.spine` calls it.

    Attributes:
        run: the run at work; `read` may complete its recipe.
        method: the recipe's.
    """

    changed_words: ClassVar[Mapping[str, str]] = {}
    "what parts of `made_from` are called in an error; the others are fields of the recipe"

    def __init__(self, run: Run[Any]) -> None:
        kinds = [kind.name for kind in kinds_of(task_of(run.recipe))]
        run.recipe = with_extras(run.recipe, kinds)
        self.run = run
        self.method = make_method(run.recipe.method, *kinds)

    @abstractmethod
    def base_folder(self) -> Path | None:
        """The folder of the base model, if it has one: nothing may be written there."""

    @abstractmethod
    def read(self) -> None:
        """Read the data and claim the run folder (`RunFolder.claim`)."""

    @abstractmethod
    def reread(self, made_from: Mapping[str, Any] | None) -> None:
        """Read the data of a run again.

        Args:
            made_from: what the unlearned model was made from, if there is one; a difference is an error.
        """

    @abstractmethod
    def prepare(self) -> None:
        """Make or find the base model and the retrained one."""

    def begin(self) -> None:
        """`read` and `prepare`: of several processes the first one does it alone, and the others read what it left."""

        def alone() -> None:
            self.read()
            self.prepare()

        first_alone(alone, self.read)

    @abstractmethod
    def unlearn(self) -> dict[str, Any]:
        """Run the method and save `model/`; what it cost (see `artifacts.unlearned`)."""

    @abstractmethod
    def outcome(self, trained: Mapping[str, Any]) -> Outcome:
        """Measure the saved model, and write the report's other data on it next to the scores."""

    @abstractmethod
    def scores_of(self, model: str) -> list[Score]:
        """The scores of any model on the run's data."""

    def scores_again(self, model: str, wanted: Collection[tuple[str, str]]) -> list[Score]:
        """Those scores of the run's model that are `wanted` as (measure, split), and maybe others."""
        return self.scores_of(model)
