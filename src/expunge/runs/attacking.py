"""Shared by the audits of all kinds of models: the attack class, and how an attack runs on every side."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar

from expunge.core import storage
from expunge.errors import RecipeError
from expunge.runs.attack_names import ATTACKS
from expunge.runs.audit import Attacked, Trial
from expunge.runs.context import Run
from expunge.runs.plugins import entry_points, named_in
from expunge.runs.work import Budget, Piece, Work, total

FILE = "found.json"
"a result, in its folder"

S = TypeVar("S")
A = TypeVar("A", contravariant=True)


class AnyAttack(ABC, Generic[A]):
    """One attack on a side A of an audit.

    Attributes:
        name: name on the command line.
        title, sentence: for the report.
        order: order of running; the most informative for its time comes first.
        own_scale: its values are not comparable with knowledge without an attack, so that it also runs on the base
            model.
        needs_base: for an attack with its own scale: if the base model does no better under it than the control, it
            is left out.
        optional: it takes long, and only runs if named.
        by_layer: its settings are layers, so that all models must have as many.
        version: increment it when the meaning of its results changes.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sentence: ClassVar[str]
    order: ClassVar[int]
    own_scale: ClassVar[bool] = False
    needs_base: ClassVar[bool] = False
    optional: ClassVar[bool] = False
    by_layer: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def missing(self, side: A) -> str | None:
        """Why it cannot run on this side; None if it can."""
        return None

    @abstractmethod
    def pieces(self, side: A) -> list[Piece]:
        """The pieces of work on one side and their cost, in the order of `carry_out`; the clock can stop between
        them."""

    @abstractmethod
    def carry_out(self, side: A) -> Iterable[Trial]:
        """What the model still knows, setting by setting; the same settings in the same order on either side."""

    def notes(self, side: A) -> dict[str, object]:
        """Further figures on the unlearned side."""
        return {}

    def noting(self, side: A) -> Work:
        """What `notes` takes."""
        return Work()


def found_attacks(rooms: Sequence[ModuleType], bases: tuple[type[Any], ...]) -> list[Any]:
    """Every attack on one kind of model, in their order: those of its folders, and of other packages.

    Args:
        bases: the kind's `Attack`, and what it shares with other kinds, such as attacks on weights.

    Raises:
        RecipeError: an entry point is not an attack, or two attacks have one name.
    """
    found: dict[str, AnyAttack[Any]] = {}
    classes = list({kind: None for room in rooms for base in bases for kind in named_in(room, base)})
    for point in entry_points(group=ATTACKS):
        given = point.load()
        if not (inspect.isclass(given) and issubclass(given, AnyAttack)) or inspect.isabstract(given):
            raise RecipeError(
                f"the entry point {point.name} of {ATTACKS} is not an attack",
                seen=point.value,
                allowed="a subclass of a kind's Attack, with pieces and carry_out",
                next_step="a measure of another package is an entry point of expunge.measures: see docs/adding.md",
            )
        if issubclass(given, bases):
            classes.append(given)
    for attack in (kind() for kind in classes):
        if attack.name in found:
            raise RecipeError(
                f"two attacks are called {attack.name!r}",
                seen=f"{type(found[attack.name]).__module__} and {type(attack).__module__}",
                next_step="give one of them another name, or remove its package",
            )
        found[attack.name] = attack
    return sorted(found.values(), key=lambda attack: (attack.order, attack.name))


class _OutOfTimeError(Exception):
    """An attack was stopped between two pieces."""


class AnyAudit(ABC, Generic[S]):
    """Runs attacks, each side cached in the run folder.

    Attributes:
        run: the run with the folder.
        others: the control's facts, if they differ; else None.
        words: description of each side.
    """

    run: Run[Any]
    others: Any
    words: ClassVar[Mapping[str, str]]
    made: list[tuple[str, dict[str, Any], Any]] | None = None
    """of a process that does not own the folder: results that it made, each with its name and key"""

    @abstractmethod
    def sides(self, attack: Any = None) -> Iterator[tuple[str, S]]:
        """(which, side): the unlearned model's first."""

    def groups(self) -> dict[str, list[int]]:
        """Groups of facts, if any; see `findings.Together`."""
        return {}

    @abstractmethod
    def _key_of(self, attack: Any, which: str) -> dict[str, Any]:
        """Key of the results of an attack on a side."""

    @cached_property
    def _pieces(self) -> dict[tuple[str, str], list[Piece]]:
        """(attack, side) -> its pieces: counting them puts every question into its other forms."""
        return {}

    def _pieces_of(self, attack: AnyAttack[S], which: str, side: S) -> list[Piece]:
        if (attack.name, which) not in self._pieces:
            self._pieces[attack.name, which] = attack.pieces(side)
        return self._pieces[attack.name, which]

    def pieces(self, attack: AnyAttack[S]) -> list[Piece]:
        """The pieces of an attack, each with its work on all sides together."""
        sides = [side for _, side in self.sides(attack)]
        every = [self._pieces_of(attack, which, side) for which, side in self.sides(attack)]
        noting = attack.noting(sides[0])
        found = []
        for number, piece in enumerate(every[0]):
            work = total([pieces[number] for pieces in every if number < len(pieces)])
            last = number == len(every[0]) - 1
            found.append(Piece(words=piece.words, work=work + noting if last else work, trials=piece.trials))
        return found

    def attacked(self, attack: AnyAttack[S], budget: Budget) -> tuple[Attacked | None, list[str]]:
        """Run an attack on every side; earlier results are read from the folder.

        The clock is checked before each piece: one that does not fit, on this side and the next ones, is not run,
        and the next sides get no more pieces than this one.

        Returns:
            The results, None if there was no time for a piece; descriptions of the pieces that were not run.
        """
        found = Attacked(name=attack.name, title=attack.title, sentence=attack.sentence)
        sides = list(self.sides(attack))
        planned = [self._pieces_of(attack, which, side) for which, side in sides]
        names = [piece.words for piece in planned[0]]
        most = len(names)
        if not self.done(attack) and (kept := self.kept(attack)) and not budget.fits(total(self.pieces(attack))):
            most = kept  # an earlier audit got this far, and this one gets no further
        for place, (which, side) in enumerate(sides):
            got, most = self._side_made(attack, which, side, most, budget, planned[place:])
            setattr(found, which, [Trial(**row) for row in got["trials"]])
            found.figures |= got["figures"]
            found.seconds += got["seconds"]
        if most == 0:
            return None, names
        shortest = min(len(getattr(found, which)) for which, _ in sides)
        for which, _ in sides:
            setattr(found, which, getattr(found, which)[:shortest])
        if attack.own_scale and self.others is None:
            found.control_base = found.control
        return found, names[most:]

    def _side_made(
        self,
        attack: AnyAttack[S],
        which: str,
        side: S,
        most: int,
        budget: Budget,
        planned: Sequence[Sequence[Piece]],
    ) -> tuple[dict[str, Any], int]:
        """(the results on one side, its pieces that were run).

        Args:
            most: maximum of pieces to run.
            planned: the pieces of this side and the next ones.
        """
        pieces, key = planned[0], self._key_of(attack, which)
        name, title = f"{attack.name}-{which}", f"{attack.title.lower()}, {self.words[which]}"
        trials: list[Trial] = []
        start, number = budget.now(), 0

        def result() -> dict[str, Any]:
            figures = attack.notes(side) if which == "unlearned" and number == len(pieces) else {}
            rows = [trial.row() for trial in trials]
            return {"trials": rows, "figures": figures, "seconds": budget.now() - start}

        def carry_out() -> dict[str, Any]:
            nonlocal number
            going = iter(attack.carry_out(side))
            while number < len(pieces):
                piece, ahead = pieces[number], number + 1 if which == "unlearned" else most
                later = total([each for other in planned[1:] for each in other[:ahead]])
                if which == "unlearned" and number == len(pieces) - 1:
                    later += attack.noting(side)
                if number == most or not budget.fits(piece.work + later):
                    raise _OutOfTimeError
                begun = budget.now()
                trials.extend(going if piece.trials is None else taken(going, piece.trials))
                budget.note(piece.work, budget.now() - begun)
                number += 1
            trials.extend(going)
            return result()

        if self._there(name, key):
            return self._cached(name, key, carry_out, title), min(most, len(pieces))
        if self._there(f"{name}-part", key | {"pieces": most}):
            return self._cached(f"{name}-part", key | {"pieces": most}, result, title), most
        try:
            return self._cached(name, key, carry_out, title), len(pieces)
        except _OutOfTimeError:
            made = self._cached(f"{name}-part", key | {"pieces": number}, result, title) if number else result()
            return made, number

    def done(self, attack: AnyAttack[S]) -> bool:
        """Whether its results for every side are in the folder."""
        return all(
            self._there(f"{attack.name}-{which}", self._key_of(attack, which)) for which, _ in self.sides(attack)
        )

    def kept(self, attack: AnyAttack[S]) -> int:
        """Number of its pieces in the folder, for every side: an earlier audit had no time for more."""
        sides = [which for which, _ in self.sides(attack)]
        for number in range(len(self.pieces(attack)) - 1, 0, -1):
            if all(
                self._there(f"{attack.name}-{which}-part", self._key_of(attack, which) | {"pieces": number})
                or self._there(f"{attack.name}-{which}", self._key_of(attack, which))
                for which in sides
            ):
                return number
        return 0

    def take(self, made: Iterable[Sequence[Any]]) -> None:
        """Write the results that another process made."""
        for name, key, value in made:
            self.run.cached_json(f"audit-{name}", key, lambda value=value: value, FILE)  # type: ignore[misc]

    def _there(self, name: str, key: dict[str, Any]) -> bool:
        if self.made is not None and any((name, key) == each[:2] for each in self.made):
            return True
        return (self.run.cache_path(f"audit-{name}", key) / "stage.json").is_file()

    def _cached(self, name: str, key: dict[str, Any], make: Callable[[], Any], doing: str) -> Any:
        if self.made is None:
            return self.run.cached_json(f"audit-{name}", key, make, FILE, doing)
        if not self._there(name, key):
            self.made.append((name, key, json.loads(json.dumps(make(), allow_nan=False))))
        known = [each[2] for each in self.made if (name, key) == each[:2]]
        return known[0] if known else storage.read_json(self.run.cache_path(f"audit-{name}", key) / FILE)


def taken(going: Iterator[Trial], number: int) -> list[Trial]:
    """At most this many of the next trials."""
    return [trial for _, trial in zip(range(number), going, strict=False)]
