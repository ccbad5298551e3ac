"""An audit's budget, on a clock that only its work moves: what is planned, where it stops, and what it says of the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from expunge.errors import RecipeError
from expunge.runs import attacking
from expunge.runs.attack_plan import LEAST, ask_fewer, carried_out, make_plan
from expunge.runs.attacking import AnyAttack, AnyAudit, found_attacks
from expunge.runs.audit import Trial
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.work import KINDS, Budget, Piece, Work, total


class Clock:
    """Seconds that pass as work is done; `pace`: how much longer it takes than was measured."""

    def __init__(self) -> None:
        self.now, self.pace = 0.0, 1.0

    def work(self, seconds: float) -> None:
        self.now += seconds * self.pace


class ToyAttack(AnyAttack[Any]):
    """Pieces of so many units of work each, on either side."""

    sentence = ""

    def __init__(self, name: str, order: int, units: list[float]) -> None:
        self.name, self.title, self.order, self.units = name, name.title(), order, units  # type: ignore[misc]

    def pieces(self, side: Any) -> list[Piece]:
        return [Piece(words=f"{self.name} {at}", work=Work(read=units)) for at, units in enumerate(self.units)]

    def carry_out(self, side: Any) -> Iterator[Trial]:
        for at, units in enumerate(self.units):
            side.clock.work(units * side.rate)
            yield Trial(setting=f"{self.name} {at}", values=[0.1, 0.2], facts=[0, 1])


class TwoPieces(AnyAttack[Any]):
    """An attack on another kind of model."""

    def pieces(self, side: Any) -> list[Piece]:
        return []

    def carry_out(self, side: Any) -> list[Trial]:
        return []


class ToyAudit(AnyAudit[Any]):
    words = {"unlearned": "the model", "control": "the control"}
    others = None
    paired = True

    def __init__(
        self, folder: Path, clock: Clock, attacks: list[ToyAttack], rate: float = 1.0, facts: int = 100
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.run = Run[Any](None, RunFolder(folder))
        self.clock, self.every, self.rate, self.asked_number = clock, attacks, rate, facts
        self.wanted: int | None = None

    def sides(self, attack: Any = None) -> Iterator[tuple[str, Any]]:
        for which in self.words:
            yield which, SimpleNamespace(clock=self.clock, rate=self.rate)

    def _key_of(self, attack: Any, which: str) -> dict[str, Any]:
        return {"which": which}

    def attacks(self, names: Any = ()) -> list[tuple[ToyAttack, None]]:
        return [(attack, None) for attack in self.every]

    def measured(self, work: Work) -> Work:
        self.clock.work(0.5)
        return Work(read=self.rate if work.read else 0.0)

    def asking(self) -> Work:
        return Work(read=self.asked_number / 10)

    def around(self) -> Work:
        return Work(read=5.0)

    def ask_fewer(self, number: int) -> None:
        self.wanted, self.asked_number = self.asked_number, number


def offered(monkeypatch: pytest.MonkeyPatch, *values: object) -> None:
    points = [SimpleNamespace(name=f"point{at}", value=f"toy:{at}", load=lambda v=v: v) for at, v in enumerate(values)]
    monkeypatch.setattr(attacking, "entry_points", lambda group: points if group == "expunge.attacks" else [])


def named(name: str, base: type[Any] = ToyAttack, order: int = 5) -> Any:
    """A class as another package offers it."""
    return type(name, (base,), {"name": name, "title": name, "order": order, "__init__": lambda self: None})


def test_attacks_of_other_packages_are_found_by_the_kind_that_they_are_built_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room, other = ModuleType("room"), type("OtherKind", (AnyAttack,), {})
    room.__path__ = []
    offered(monkeypatch, named("late", order=9), named("early", order=1), named("elsewhere", TwoPieces))
    assert [attack.name for attack in found_attacks([room], (ToyAttack,))] == ["early", "late"]
    assert found_attacks([room], (other,)) == []
    both = found_attacks([room, room], (ToyAttack, TwoPieces))
    assert [attack.name for attack in both] == ["early", "elsewhere", "late"], "what kinds share, too, and all once"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("no class",), "is not an attack"),
        ((AnyAttack,), "is not an attack"),
        ((named("one"), named("one")), "two attacks are called"),
    ],
)
def test_what_is_no_attack_and_names_that_are_taken_are_refused(
    values: tuple[object, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = ModuleType("room")
    room.__path__ = []
    offered(monkeypatch, *values)
    with pytest.raises(RecipeError, match=told):
        found_attacks([room], (ToyAttack,))


def audited(at_audit: ToyAudit, seconds: float | None, wanted: tuple[str, ...] = (), pace: float = 1.0) -> Any:
    """(names and settings made, what is left out, seconds that it took in all, whether it was short)."""
    clock = at_audit.clock
    clock.pace = 1.0
    budget = Budget(seconds, clock.now, lambda: clock.now)
    ask_fewer(at_audit, budget, {})
    clock.work(at_audit.asking().read * at_audit.rate)
    plan = make_plan(at_audit, wanted, budget)
    clock.pace = pace
    found = carried_out(at_audit, plan, budget)
    clock.work(at_audit.around().read * at_audit.rate)
    made = [(each.name, len(each.unlearned)) for each in found]
    assert all(len(each.control) == len(each.unlearned) for each in found)
    return made, {each["name"]: each["why"] for each in plan.left}, budget.spent, plan.short


def toys() -> list[ToyAttack]:
    return [ToyAttack("a", 10, [5.0, 5.0]), ToyAttack("b", 20, [4.0] * 10), ToyAttack("c", 30, [2.0])]


def test_without_a_budget_all_is_made_and_nothing_is_timed(tmp_path: Path) -> None:
    made, left, spent, short = audited(ToyAudit(tmp_path, Clock(), toys()), None)
    assert made == [("a", 2), ("b", 10), ("c", 1)]
    assert (left, short) == ({}, False)
    assert spent == 10 + 2 * (10 + 40 + 2) + 5


@pytest.mark.parametrize("seconds", [30.0, 45.0, 60.0, 90.0, 119.0, 140.0])
@pytest.mark.parametrize("pace", [0.5, 1.0, 1.3, 2.0])
def test_a_budget_is_kept_within_a_tenth(seconds: float, pace: float, tmp_path: Path) -> None:
    made, left, spent, short = audited(ToyAudit(tmp_path, Clock(), toys()), seconds, pace=pace)
    assert spent <= 1.1 * seconds
    every = {attack.name: len(attack.units) for attack in toys()}
    assert {name for name, _ in made} | set(left) == set(every), "what was not made is named"
    assert short == (dict(made) != every)


def test_whole_attacks_come_first_and_the_rest_is_spent_on_a_part(tmp_path: Path) -> None:
    """70 s: 10 for asking, 1 for timing, 5 after; a (20) and c (4) fit, and of b (80) three pieces of 8."""
    made, left, spent, short = audited(ToyAudit(tmp_path, Clock(), toys()), 70.0)
    assert made == [("a", 2), ("b", 3), ("c", 1)]
    assert list(left) == ["b"]
    assert left["b"] == "the budget was spent before it: b 3; b 4; b 5; b 6; b 7; b 8; b 9"
    assert short
    assert spent == pytest.approx(64.0 + 1.0, abs=1.1)


def test_the_machine_s_own_rate_decides(tmp_path: Path) -> None:
    fast = audited(ToyAudit(tmp_path / "fast", Clock(), toys(), rate=0.1), 30.0)
    assert fast[0] == [("a", 2), ("b", 10), ("c", 1)]
    slow = audited(ToyAudit(tmp_path / "slow", Clock(), toys(), rate=3.0), 30.0)
    assert slow[0] == []
    assert slow[1]["a"] == "the budget is too small: it takes about 60 s"
    spent = audited(ToyAudit(tmp_path / "spent", Clock(), toys(), rate=9.0), 30.0)
    assert spent[:2] == ([], dict.fromkeys("abc", "the budget was spent before it")), "by asking and damage"
    assert slow[3]


def test_a_machine_that_slows_down_stops_sooner(tmp_path: Path) -> None:
    made, left, spent, _ = audited(ToyAudit(tmp_path, Clock(), [ToyAttack("b", 20, [2.0] * 10)]), 61.0, pace=2.0)
    assert spent <= 61.0
    ((name, number),) = made
    assert (name, 3 <= number < 10) == ("b", True)
    assert left["b"].endswith("b 9")


def test_an_interrupted_audit_and_a_longer_one_go_on_from_what_is_there(tmp_path: Path) -> None:
    short = audited(ToyAudit(tmp_path, Clock(), toys()), 70.0)
    clock = Clock()
    again = audited(ToyAudit(tmp_path, clock, toys()), 70.0)
    assert again[:2] == short[:2], "as many settings of b are there, and the whole of it does not fit"
    assert clock.now < 30, "nothing was made twice"
    longer = audited(ToyAudit(tmp_path, Clock(), toys()), 110.0)
    assert longer[0] == [("a", 2), ("b", 10), ("c", 1)]
    assert longer[1:] == ({}, longer[2], False)


def test_where_asking_takes_more_than_half_fewer_facts_are_asked_for(tmp_path: Path) -> None:
    """100 facts take 10 s a unit of rate; of a budget of 60 s half is 30, less 0.5 of timing and 5 · rate after."""
    fits = ToyAudit(tmp_path / "fits", Clock(), toys())
    audited(fits, 60.0)
    assert (fits.asked_number, fits.wanted) == (100, None)
    slow = ToyAudit(tmp_path / "slow", Clock(), toys(), rate=4.0)
    audited(slow, 60.0)
    assert slow.asked_number == int(100 * (30 - 0.5 - 20) / 40) == 23
    assert slow.wanted == 100
    slower = ToyAudit(tmp_path / "slower", Clock(), toys(), rate=20.0)
    audited(slower, 60.0)
    assert slower.asked_number == LEAST
    few = ToyAudit(tmp_path / "few", Clock(), toys(), rate=20.0, facts=10)
    audited(few, 60.0)
    assert few.wanted is None, "fewer than that tell nothing"


def test_an_audit_that_goes_on_asks_for_as_many_facts_as_it_began_with(tmp_path: Path) -> None:
    at_audit = ToyAudit(tmp_path, Clock(), toys())
    ask_fewer(at_audit, Budget(None, 0.0), {"asked": 40})
    assert at_audit.asked_number == 40
    at_audit = ToyAudit(tmp_path, Clock(), toys(), rate=9.0)
    ask_fewer(at_audit, Budget(60.0, 0.0, lambda: 0.0), {"digest": "of one that asked for all"})
    assert at_audit.asked_number == 100


def test_work_is_counted_and_timed_kind_by_kind() -> None:
    work = total([Piece(words="", work=Work(read=2, trained=3)), Piece(words="", work=Work(written=1))])
    assert work == Work(read=2, trained=3, written=1)
    rates = Work(**dict(zip(KINDS, (1.0, 10.0, 100.0, 1000.0, 1e4, 1e5, 1e6, 1e7), strict=True)))
    assert work.seconds(rates) == 2 + 30 + 1000
    assert (work * 2).seconds(rates) == 2 * work.seconds(rates)
