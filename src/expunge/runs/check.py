"""Thresholds of a verdict as data, and how each is judged: pure functions of the scores and the limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal

from expunge.core.score import Score, Which
from expunge.runs.recipe import Thresholds

NOT_KNOWN = "not known well enough to measure forgetting"
"beginning of an explanation if the base model did not show the target"
NOT_KNOWN_BEFORE = "not known well enough to be seen to go"
"the same in run folders that earlier versions wrote"
REFERENCE = {"base": "before", "retrained": "in the retrained model"}

Bound = Literal["at most", "at least"]
Unit = Literal[
    "share of before", "share of the way", "share of retraining", "share of the reference", "share of the weights",
    "share of pictures", "points", "chance", "area", "times before", "dB", "",
]  # fmt: skip
"units of limits; the reference: the retrained model if there is one, else the model before"


@dataclass(frozen=True, slots=True)
class Check:
    """One threshold compared with the scores: `value` must be at most (or at least) `threshold`."""

    name: str
    threshold: float
    value: float | None
    passed: bool | None
    "None: not made, for the reason in `explain`"
    explain: str


@dataclass(frozen=True, slots=True)
class Case:
    """The inputs for judging one threshold.

    Attributes:
        name: the threshold's.
        limit: its value in the recipe.
        scores: by measure, split and model.
        record: further values of the run, such as its cost.
        made: the checks before this one.
    """

    name: str
    limit: Any
    scores: Mapping[tuple[str, str, Which], Score]
    record: Mapping[str, Any] = field(default_factory=dict)
    made: Sequence[Check] = ()

    def score(self, measure: str, split: str, model: Which) -> Score | None:
        return self.scores.get((measure, split, model))

    def splits(self, measure: str, among: str | Sequence[str]) -> list[str]:
        """The named splits, or those of the base model's scores whose names begin with `among`."""
        if not isinstance(among, str):
            return list(among)
        named = [split for name, split, model in self.scores if (name, model) == (measure, "base")]
        return [split for split in named if split.startswith(among)]

    def has(self, model: Which) -> bool:
        """Whether anything was measured on this model."""
        return any(which == model for _, _, which in self.scores)

    def check(self, value: float, bound: Bound, explain: str) -> Check:
        """Compare the value with the limit; NaN fails."""
        passed = value <= self.limit if bound == "at most" else value >= self.limit
        return Check(self.name, self.limit, value, passed, explain)

    def failed(self, explain: str | None) -> Check | None:
        """A failed check without a value; without an explanation there is no check."""
        return None if explain is None else Check(self.name, self.limit, None, False, explain)


Judge = Callable[[Case], Check | None]
"how a threshold is judged; None: there is nothing to judge, and no check"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold of a verdict.

    Attributes:
        name: the recipe's field, and the name of the check.
        title: its full name in the report.
        words: `at most: ...` or `at least: ...` and what is compared with the limit. The recipe's field and the report
            say the same; a final parenthesis is only for the field.
        judged: how it is judged.
        unit: the limit's unit.
        default: the limit, if no field of the recipe has one. None: not judged.

    Raises:
        ValueError: `words` begins with no bound.
    """

    name: str
    title: str
    words: str
    judged: Judge
    unit: Unit = "share of before"
    default: float | None = None

    def __post_init__(self) -> None:
        if not self.words.startswith(("at most: ", "at least: ")):
            raise ValueError(f"the words of the threshold {self.name} begin neither with at most: nor with at least:")

    @classmethod
    def of(
        cls, verdict: type[Thresholds], name: str, title: str, judged: Judge, unit: Unit = "share of before"
    ) -> Threshold:
        """A threshold that is a field of a recipe's verdict, with the words of that field."""
        return cls(name, title, " ".join((verdict.model_fields[name].description or "").split()), judged, unit)

    @property
    def bound(self) -> Bound:
        return "at most" if self.words.startswith("at most: ") else "at least"

    @property
    def sentence(self) -> str:
        """The report's sentence."""
        explanation = self.words.partition(": ")[2]
        if explanation.endswith(")"):
            explanation = explanation[: explanation.rindex(" (")]
        return f"{explanation[0].upper()}{explanation[1:]}."


@dataclass(frozen=True, slots=True)
class Required:
    """At least one of the checks `of` must have been made: otherwise `name` fails."""

    name: str
    of: frozenset[str]
    explain: str

    def judged(self, case: Case) -> Check | None:
        return None if any(check.name in self.of for check in case.made) else case.failed(self.explain)


def judge(
    scores: Sequence[Score],
    limits: Thresholds,
    thresholds: Sequence[Threshold | Required],
    record: Mapping[str, Any] = {},
) -> dict[str, Any]:
    """{"passed", "checks"}: every threshold with a limit, compared with the scores.

    Args:
        scores: of all models.
        limits: the recipe's verdict; its field `more` holds the limits of other packages' thresholds.
        thresholds: in the order of the checks.
        record: further values of the run.
    """
    found = {(score.measure, score.split, score.model): score for score in scores}
    given: dict[str, Any] = limits.model_dump() | limits.more
    checks: list[Check] = []
    for each in thresholds:
        limit = given.get(each.name, None if isinstance(each, Required) else each.default)
        if limit is not None and (check := each.judged(Case(each.name, limit, found, record, checks))) is not None:
            checks.append(check)
    passed = all(check.passed is not False for check in checks)
    return {"passed": passed, "checks": [asdict(check) for check in checks]}


# How thresholds are judged


def _nothing(base: Score) -> bool:
    return base.value <= 0


def _never(base: Score) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A figure from two scores of one measure, before and after, compared with the limit.

    Attributes:
        figure: of (before, after).
        bound: kind of limit.
        measure, split: whose scores.
        explain: a format of `before`, `after`, `value` (the figure), `points` (a hundred times that),
            `change` (after / before - 1), `split`, `where` and `reference`.
        to_reference: compare with the retrained model, if measured, instead of the base.
        too_little: whether the base model's score is too low to measure a fall.
        unseen: text if it is. None: as if it were not measured.
        missing: text if a score is missing. None: no check then.
        where: texts of `where` by split; empty for others.
    """

    figure: Callable[[float, float], float]
    bound: Bound
    measure: str
    split: str = ""
    explain: str
    to_reference: bool = False
    too_little: Callable[[Score], bool] = _nothing
    unseen: str | None = None
    missing: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)

    def pair(self, case: Case) -> tuple[Score, Score] | None:
        """The scores before and after; None if one is missing."""
        before = case.score(self.measure, self.split, self.model(case))
        after = case.score(self.measure, self.split, "unlearned")
        return None if before is None or after is None else (before, after)

    def model(self, case: Case) -> Which:
        return "retrained" if self.to_reference and case.has("retrained") else "base"

    def __call__(self, case: Case) -> Check | None:
        pair = self.pair(case)
        if pair is None:
            return case.failed(self.missing)
        before, after = (score.value for score in pair)
        values = {"before": before, "after": after, "reference": REFERENCE[self.model(case)]}
        values |= {"split": self.split.partition("/")[2] or self.split, "where": self.where.get(self.split, "")}
        if self.too_little(pair[0]):
            return case.failed(self.missing if self.unseen is None else self.unseen.format(**values))
        value, change = self.figure(before, after), after / before - 1 if before else float("nan")
        values |= {"value": value, "points": value * 100, "change": change}
        return case.check(value, self.bound, self.explain.format(**values))


ratio_at_most = partial(Compared, figure=lambda before, after: after / before, bound="at most")
"after as a share of before"
ratio_at_least = partial(Compared, figure=lambda before, after: after / before, bound="at least")
change_at_most = partial(Compared, figure=lambda before, after: abs(after / before - 1), bound="at most")
"how far a figure moved in either direction, as a share of before"
rise_at_most = partial(Compared, figure=lambda before, after: after - before, bound="at most", too_little=_never)
loss_at_most = partial(Compared, figure=lambda before, after: before - after, bound="at most", too_little=_never)


def worst_of(among: str | Sequence[str], one: Compared, missing: str | None = None, unseen: str | None = None) -> Judge:
    """The split with the worst comparison; splits without one are skipped.

    Args:
        among: the splits, or how their names begin.
        missing: text if none of them was measured. None: no check then.
        unseen: text if some were measured, but none can be judged. None: as `missing`.
    """

    def judged(case: Case) -> Check | None:
        each = [replace(one, split=split) for split in case.splits(one.measure, among)]
        measured = [compared for compared in each if compared.pair(case) is not None]
        checks = [check for compared in measured if (check := compared(case)) is not None]
        if not checks:
            return case.failed(unseen if measured and unseen else missing)
        worst = max if one.bound == "at most" else min
        return worst(checks, key=lambda check: check.value or 0.0)

    return judged


def mean_of(among: str | Sequence[str], one: Compared, explain: str) -> Judge:
    """The mean of a comparison over splits; no check if none was measured.

    Args:
        explain: a format of `value`, `points` and `n`, the number of splits.
    """

    def judged(case: Case) -> Check | None:
        checks = [replace(one, split=split)(case) for split in case.splits(one.measure, among)]
        values = [check.value for check in checks if check is not None and check.value is not None]
        if not values:
            return None
        mean = sum(values) / len(values)
        return case.check(mean, one.bound, explain.format(value=mean, points=mean * 100, n=len(values)))

    return judged


def way_to_oracle(
    measure: str, split: str, explain: str, *, apart: float, same: str, too_little: Callable[[Score], bool]
) -> Judge:
    """Share of the distance from base to retrained model that a score covered; no check without a retrained model.

    Args:
        explain, same: formats of `before`, `after` and `oracle`.
        apart: difference between base and retrained model from which that can be measured.
        same: text if they are closer.
        too_little: whether the base model's score is too low to measure a fall; no check then.
    """

    def judged(case: Case) -> Check | None:
        base, after, oracle = (case.score(measure, split, model) for model in ("base", "unlearned", "retrained"))
        if base is None or after is None or oracle is None or too_little(base):
            return None
        values = {"before": base.value, "after": after.value, "oracle": oracle.value}
        if base.value - oracle.value < apart:
            return case.failed(same.format(**values))
        way = (base.value - after.value) / (base.value - oracle.value)
        return case.check(way, "at least", explain.format(**values))

    return judged


def reaches_chance(measure: str, split: str, chance: float) -> Judge:
    """Distance of a share from chance, in either direction, if the base model's interval is above it.

    Args:
        chance: that of a guess; replaced by the base model's score on the split "control", if there is one.
    """

    def judged(case: Case) -> Check | None:
        before, after = case.score(measure, split, "base"), case.score(measure, split, "unlearned")
        if before is None or after is None:
            return None
        blind = case.score(measure, "control", "base")
        guessed = chance if blind is None else blind.value
        interval = f"[{before.low:.1%}, {before.high:.1%}]"
        figures = f"{before.value:.1%} {interval} right before, {after.value:.1%} after, chance {guessed:.1%}"
        if before.low <= guessed:
            return Check(case.name, case.limit, None, None, f"{NOT_KNOWN}: {figures}")
        distance = abs(after.value - guessed)
        return Check(case.name, case.limit, distance, distance <= case.limit + 1e-9, figures)

    return judged


def recorded_at_most(part: str, name: str, explain: str) -> Judge:
    """A figure of the record, `part: {name: ...}`; no check if it is unknown.

    Args:
        explain: a format of `value`.
    """

    def judged(case: Case) -> Check | None:
        value = case.record[part][name]
        return None if value is None else case.check(value, "at most", explain.format(value=value))

    return judged
