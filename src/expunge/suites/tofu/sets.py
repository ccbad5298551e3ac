"""What a benchmark of questions teaches, forgets and measures, whichever it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from expunge.core import storage
from expunge.data.text.overlap import repeats
from expunge.errors import DataError, RecipeError
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.measures.question_answers import Asked, digest_asked

SHARED = 0.5
"share of the texts to keep that may repeat the forget set, and are left out; of a fold of MUSE-News a seventh does"
UTILITY = ("retain", "real_authors", "world_facts")
"the splits whose measures make TOFU's model utility"
OPTIONS = (*UTILITY[1:], "forget_choice", "retain_choice")
"the splits whose answers are listed with wrong ones to choose from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """What is measured, and which measures stand for forgetting and utility; of TOFU, if nothing is said.

    Attributes:
        measures: split -> names of measures; a split that is not named has those that its rows allow.
        forgotten: measures of which the least is the most forgetting.
        utility: the measure of the retain set; None if the files for it are missing.
        members: the splits that PrivLeak compares: forgotten rows, rows never seen.
        chance: split -> the share that is right by chance.
    """

    measures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    forgotten: tuple[str, ...] = ("forget/rouge_l_recall",)
    utility: str | None = "retain/rouge_l_recall"
    members: tuple[str, str] = ("forget", "holdout")
    chance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Several forget sets, each method run on every one.

    Attributes:
        name: as its folder is called.
        parts: the forget sets.
        chained: whether a method continues with its model of the part before; else with the taught one.
    """

    name: str
    parts: tuple[tuple[Asked, ...], ...]
    chained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSets:
    """Rows by what they are for.

    Attributes:
        forget, retain: what the model is taught, and methods are given; the oracle is taught `retain` alone.
        more_forget, more_retain: further taught rows, which methods do not get; they are asked about them.
        measured: split -> the rows that every model is asked; `forget` and `retain` always.
        left_out: sentences on measures that the files are missing for.
        teach: whether the model is taught first; if not, it knows already, and there is no oracle.
        scoring: what is measured.
        series: further forget sets.
    """

    forget: tuple[Asked, ...]
    retain: tuple[Asked, ...]
    measured: dict[str, tuple[Asked, ...]]
    more_forget: tuple[Asked, ...] = ()
    more_retain: tuple[Asked, ...] = ()
    left_out: tuple[str, ...] = field(default=())
    teach: bool = True
    scoring: Scoring = field(default_factory=Scoring)
    series: tuple[Series, ...] = ()

    @property
    def digest(self) -> str:
        """Of all rows, wherever they were read from."""
        parts = {name: getattr(self, name) for name in ("forget", "retain", "more_forget", "more_retain")}
        parts |= {f"asked {name}": rows for name, rows in self.measured.items()}
        parts |= {f"{each.name} {i}": rows for each in self.series for i, rows in enumerate(each.parts, 1)}
        return storage.digest_value({name: digest_asked(rows) for name, rows in parts.items()})

    def spread(self, rows: int | None) -> QuestionSets:
        """The same with at most this many rows of each split asked, evenly spread."""
        if rows is None:
            return self
        measured = {name: tuple(all_[i] for i in spread(len(all_), rows)) for name, all_ in self.measured.items()}
        return replace(self, measured=measured)

    @property
    def said(self) -> dict[str, tuple[Asked, ...]]:
        """The splits of `measured` that are answered in words."""
        return {name: rows for name, rows in self.measured.items() if rows[0].is_said and name != "holdout"}

    @property
    def kept(self) -> tuple[Asked, ...]:
        """What the oracle is taught."""
        return self.retain + self.more_retain

    @property
    def taken(self) -> tuple[Asked, ...]:
        """What only the model is taught."""
        return self.forget + self.more_forget


def data_of(suite: str, data: str | None, forget: str | None = None) -> str:
    """The data that a suite must be given, which has one forget set.

    Raises:
        RecipeError: there is none, or a forget set is named.
    """
    if data is None:
        raise RecipeError(f"the suite {suite} asks what its files hold", next_step="give its folder: --data FOLDER")
    if forget is not None:
        raise RecipeError(f"the suite {suite} has one forget set", seen=f"--forget {forget}", next_step="leave it out")
    return data


def pair(row: Asked) -> tuple[str, str]:
    """The identity of a row: its question and answer, without white space around them."""
    return row.question.strip(), row.answer.strip()


def refuse_overlap(
    unseen: Sequence[Asked],
    taught: Sequence[Asked],
    what: str = "the oracle would be trained on what is to be forgotten",
) -> None:
    """Raise, saying `what` that means, where a model would be taught a row that it must never have seen."""
    apart = {pair(row): row for row in unseen}
    for row in taught:
        if pair(row) in apart:
            raise DataError(
                f"{what}: {row.source}",
                seen=f"{row.question[:80]!r} is also in {apart[pair(row)].source}",
                allowed="sets without a row in common",
                next_step="give the files of one version of the data",
            )


def without_repeats(rows: Sequence[Asked], taken: Sequence[Asked], name: str, notes: list[str]) -> tuple[Asked, ...]:
    """Texts to retain, without those that repeat texts to forget: published corpora share notices and near copies.

    Args:
        taken: what is to be forgotten.
        name: of the texts to keep.
        notes: where it is said how many were left out.

    Raises:
        DataError: more than `SHARED` of them.
    """
    own = {pair(row): row.source for row in taken}
    shared = {row.source: own[pair(row)] for row in rows if pair(row) in own}
    found = repeats([row.document() for row in taken], [row.document() for row in rows])
    shared |= {match.sources[1]: match.sources[0] for match, _ in found}
    if len(shared) > SHARED * len(rows):
        here, there = next(iter(shared.items()))
        raise DataError(
            f"what is to be kept is to be forgotten, too: {here}",
            seen=f"{len(shared)} of {len(rows)} texts of {name}; this one stands in {there}",
            allowed=f"at most {SHARED:.0%} of them",
            next_step="give the files of one version of the data",
        )
    if shared:
        notes.append(f"{len(shared)} texts of {name} repeat what is to be forgotten, and are left out of it")
    return tuple(row for row in rows if row.source not in shared)


def refuse_other_version(rows: Iterable[Asked], among: Iterable[Asked], where: str) -> None:
    """Raise if a row is not among those that it should be one of: the files are of different versions."""
    known = {pair(row) for row in among}
    for row in rows:
        if pair(row) not in known:
            raise DataError(
                f"{row.source} is not in {where}: the files are of different versions",
                seen=row.question[:120],
                next_step="download all files of the dataset again, into a new folder",
            )


def same_number_of_perturbed(rows: Sequence[Asked]) -> None:
    """Raise if rows of one split have different numbers of perturbed answers: their truth ratios would differ in
    kind."""
    for row in rows:
        if len(row.perturbed) != len(rows[0].perturbed):
            raise DataError(
                f"{row.source} has another number of perturbed answers than the rows before it",
                seen=f"{len(row.perturbed)}, and {len(rows[0].perturbed)} in {rows[0].source}",
                allowed="as many in every row of a file",
                next_step="give the file as it is published, or remove that row",
            )
