"""What the audits of all kinds of models share: what an attack is, and how one is carried out on every side."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar

from expunge.runs.audit import Attacked, Trial
from expunge.runs.context import Run
from expunge.runs.plugins import named_in

S = TypeVar("S")
A = TypeVar("A", contravariant=True)


class AnyAttack(ABC, Generic[A]):
    """One attack on a side A of an audit.

    Attributes:
        name: on the command line.
        title, sentence: for the report: what it is, and what is tried.
        order: attacks are carried out by it; what tells most for its time comes first.
        own_scale: its values are not comparable with what is known without an attack, so that it is carried out on the base
            model, too.
        needs_base: of an attack with a scale of its own: where the base model does no better under it than the control, it
            is left out.
        by_layer: its settings are layers, so that all models must have as many.
        version: raise it when what its results mean changes.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sentence: ClassVar[str]
    order: ClassVar[int]
    own_scale: ClassVar[bool] = False
    needs_base: ClassVar[bool] = False
    by_layer: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def missing(self, side: A) -> str | None:
        """Why it cannot be carried out on this side; None where it can."""
        return None

    @abstractmethod
    def cost(self, side: A) -> float:
        """Tokens or pictures that run forward through the model on one side; what is trained on counts three."""

    @abstractmethod
    def carry_out(self, side: A) -> Iterable[Trial]:
        """What the model still knows, setting by setting; the same settings in the same order on either side."""

    def notes(self, side: A) -> dict[str, object]:
        """Further figures on the unlearned side."""
        return {}


def attacks_in(*rooms: ModuleType) -> list[Any]:
    """Every attack in these packages, in the order in which they are carried out."""
    found = {kind: None for room in rooms for kind in named_in(room, AnyAttack)}
    return sorted((kind() for kind in found), key=lambda attack: (attack.order, attack.name))


class AnyAudit(ABC, Generic[S]):
    """Carries attacks out, each side cached in the run folder.

    Attributes:
        run: whose folder it is.
        others: what the control is asked for, where it is not the same; None where it is.
        words: what each side is, in words.
    """

    run: Run[Any]
    others: Any
    words: ClassVar[Mapping[str, str]]

    @abstractmethod
    def sides(self, attack: Any = None) -> Iterator[tuple[str, S]]:
        """(which, side): the unlearned model's first."""

    def groups(self) -> dict[str, list[int]]:
        """Which facts belong together, where some do; see `findings.Together`."""
        return {}

    @abstractmethod
    def _key_of(self, attack: Any, which: str) -> dict[str, Any]:
        """What the results of an attack on a side depend on."""

    def attacked(self, attack: AnyAttack[S]) -> Attacked:
        """Carry an attack out on every side; what was done before is read from the folder."""
        found = Attacked(name=attack.name, title=attack.title, sentence=attack.sentence)
        for which, side in self.sides(attack):

            def carry_out(side: S = side, which: str = which) -> dict[str, Any]:
                start = time.monotonic()
                trials = [trial.row() for trial in attack.carry_out(side)]
                figures = attack.notes(side) if which == "unlearned" else {}
                return {"trials": trials, "figures": figures, "seconds": time.monotonic() - start}

            title = f"{attack.title.lower()}, {self.words[which]}"
            made = self._cached(f"{attack.name}-{which}", self._key_of(attack, which), carry_out, title)
            setattr(found, which, [Trial(**row) for row in made["trials"]])
            found.figures |= made["figures"]
            found.seconds += made["seconds"]
        if attack.own_scale and self.others is None:
            found.control_base = found.control
        return found

    def done(self, attack: AnyAttack[S]) -> bool:
        """Whether its results are in the folder, of every side."""
        keys = [(f"audit-{attack.name}-{which}", self._key_of(attack, which)) for which, _ in self.sides(attack)]
        return all((self.run.cache_path(name, key) / "stage.json").is_file() for name, key in keys)

    def _cached(self, name: str, key: dict[str, Any], make: Callable[[], Any], doing: str) -> Any:
        return self.run.cached_json(f"audit-{name}", key, make, "found.json", doing)
