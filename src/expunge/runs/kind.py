"""A kind of model: one folder with its recipe, story (the steps of a run) and evidence (the statements on it).

A kind is found by its folder under `expunge.kinds`, or by an entry point of the group `expunge.kinds`; nothing else
names it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from expunge.core.score import Score
from expunge.errors import RecipeError
from expunge.runs.check import judge
from expunge.runs.extras import extra_thresholds
from expunge.runs.folder import RunFolder
from expunge.runs.measure import Declared
from expunge.runs.plugins import reference
from expunge.runs.recipe import BaseRecipe, Thresholds

if TYPE_CHECKING:
    from expunge.report.contents import Contents
    from expunge.runs.context import Run
    from expunge.runs.story import Story


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of model.

    Attributes:
        name: name, as in `needs.kinds` of methods.
        task: the recipe's field `task`; several kinds may share one; then the method decides.
        words: in the plural, for errors.
        short: one word for lists.
        recipe: its recipe's class.
        story: `module:class` of its `Story`, which imports training and measuring.
        evidence: `module:class` of its `Evidence`, which does not import those.
        measures: `module:NAME` of its `Declared` measures and thresholds, which do not import those either.
        more: `module:function` that adds further measures of `expunge evaluate` to a recipe (recipe, options by
            name); None if it takes no options.
        plan: `module:function` that plans a run (recipe, device); None if unknown.
        missing: `module:function` that raises for missing files, folders and models of a recipe
            (recipe, its run folder or None, whether weights are loaded), and imports no torch.
        audit: `module:function` that makes the audit of a model (story, model, control, holdout); None if there is
            none.
        spare: names of the stages of a run that are only used in training: `expunge clean` may delete them once it is
            over.
        processes: whether a launcher may start several processes for a run.
        spreads: whether its weights may be sharded over them.
    """

    name: str
    task: str
    words: str
    short: str
    recipe: type[BaseRecipe]
    story: str
    evidence: str
    measures: str
    more: str | None = None
    plan: str | None = None
    audit: str | None = None
    missing: str | None = None
    spare: tuple[str, ...] = ()
    processes: bool = False
    spreads: bool = False

    def make_story(self, run: Run[Any]) -> Story:
        """The story of a run on this kind of model."""
        return reference(self.story)(run)

    def make_evidence(self) -> Evidence:
        """The evidence on a run on this kind of model."""
        return reference(self.evidence)(self)

    @property
    def verdict(self) -> type[Thresholds]:
        """The class of its recipe's thresholds."""
        return cast("type[Thresholds]", self.recipe.model_fields["verdict"].annotation)

    def declared(self) -> Declared:
        """Its measures, thresholds and splits."""
        return reference(self.measures)

    def with_more(self, recipe: BaseRecipe, given: Mapping[str, str]) -> BaseRecipe:
        """The recipe with more to measure. Raises `RecipeError` for an option that this kind of model does not take."""
        if self.more is not None:
            return reference(self.more)(recipe, given)
        for name in given:
            raise RecipeError(f"{name} is not measured on {self.words}", allowed="no such option")
        return recipe


class Evidence(ABC):
    """The parts of record, verdict, report, model card and `expunge verify` specific to a kind of model; needs no
    torch."""

    template: ClassVar[str] = "run.html.jinja"
    "template of the report"
    limits: ClassVar[str]
    "limits of the measurements, for report and model card"
    benchmarks: ClassVar[bool] = False
    "whether missing benchmarks are a gap in the report"

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    @abstractmethod
    def title(self, recipe: Any) -> str:
        """The target, in a few words."""

    def judge(
        self, scores: Sequence[Score], thresholds: Mapping[str, Any], record: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The verdict: `passed` and `checks`, one for every threshold of the kind and of other packages' measures."""
        limits: Thresholds = self.kind.verdict(**thresholds)
        return judge(scores, limits, [*self.kind.declared().thresholds, *extra_thresholds(limits.more)], record)

    @abstractmethod
    def cost(self, folder: RunFolder, recipe: Any, trained: Mapping[str, Any]) -> dict[str, Any]:
        """The record's part `cost`."""

    @abstractmethod
    def not_tested(self, scores: Sequence[Score]) -> list[str]:
        """What the run did not test."""

    def tested_by(self, attacks: Iterable[str]) -> list[str]:
        """Those lines of `not_tested` that attacks of an audit, by name, have tested since."""
        return []

    def remarks(self, scores: Sequence[Score], verdict: Mapping[str, Any]) -> list[str]:
        """Warnings that follow from the scores and the verdict."""
        return []

    def sections(self, contents: Contents, folder: RunFolder) -> dict[str, Any]:
        """Values of the report's template for this kind: a summary sentence, cost in rows of
        (name, value), and whether the page has pictures."""
        cost = contents.part("cost") or {}
        rows = [(name.replace("_", " "), value) for name, value in cost.items() if not isinstance(value, dict)]
        return {"asked_and_done": f"{contents.method_title}.", "cost": rows, "pictures": False}

    @abstractmethod
    def loading(self, folder: RunFolder) -> tuple[str, str]:
        """(library, lines of Python) that load the unlearned model from `folder`, for its card."""

    @abstractmethod
    def check_inputs(
        self, folder: RunFolder, recipe: Any, record: Mapping[str, Any]
    ) -> Iterable[tuple[str, bool | None]]:
        """(what was checked, whether it holds) for the run's data; None if it could not be checked."""
