"""Attacks that processes share: what the others find is in the first one's folder, and each looks at the clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from test_attack_plan import Clock, ToyAttack, ToyAudit

from expunge.runs import sharing_attacks
from expunge.runs.attack_plan import carried_out, make_plan
from expunge.runs.sharing_attacks import offer, share
from expunge.runs.work import Budget, Work


class Shared(ToyAudit):
    """A toy audit whose results have their attack's name."""

    released = 0

    def attacks(self, names: Sequence[str] = ()) -> list[tuple[ToyAttack, None]]:
        return [(attack, None) for attack in self.every if not names or attack.name in names]

    def release(self) -> None:
        self.released += 1


def attacks() -> list[ToyAttack]:
    return [ToyAttack("short", 1, [1.0]), ToyAttack("long", 2, [8.0, 8.0]), ToyAttack("middle", 3, [4.0])]


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Shared]:
    """The audits that a second process made, on the same folder."""
    made: list[Shared] = []

    def make() -> Shared:
        made.append(Shared(tmp_path / "run", Clock(), attacks()))
        return made[-1]

    def helped(job: str, about: Any, pieces: int, own: Callable[[Sequence[int]], list[Any]]) -> list[Any]:
        found: list[Any] = [None] * pieces
        found[1::2] = json.loads(
            json.dumps(sharing_attacks.JOBS[job](json.loads(json.dumps(about)), range(1, pieces, 2)))
        )
        stages = tmp_path / "run" / "stages"
        assert not stages.exists() or not list(stages.glob("audit-*")), "only the first process writes"
        found[::2] = own(range(0, pieces, 2))
        return found

    monkeypatch.setattr(sharing_attacks, "JOBS", {})
    monkeypatch.setattr(sharing_attacks, "has_helpers", lambda: True)
    monkeypatch.setattr(sharing_attacks, "helped", helped)
    offer(make)
    return made


def test_processes_carry_out_whole_attacks_and_the_first_has_all_results(tmp_path: Path, other: list[Shared]) -> None:
    alone = Shared(tmp_path / "alone", Clock(), attacks())
    expected = [each.row() | {"seconds": 0} for each in carried_out(alone, make_plan(alone, (), _none()), _none())]
    first = Shared(tmp_path / "run", Clock(), attacks())
    plan = make_plan(first, (), _none())
    share(first, plan, _none())
    assert first.clock.now == 16.0 * 2 + 1.0 * 2, "the longest and the shortest, on both sides"
    (second,) = other
    assert (second.clock.now, second.released) == (4.0 * 2, 1)
    assert all(first.done(attack) for attack in first.every)
    found = [each.row() | {"seconds": 0} for each in carried_out(first, plan, _none())]
    assert found == expected
    assert first.clock.now == 34.0, "nothing is made twice"


def test_the_time_that_is_spent_is_spent_for_all(tmp_path: Path, other: list[Shared]) -> None:
    first = Shared(tmp_path / "run", Clock(), attacks())
    plan = make_plan(first, (), _none())
    late = Budget(100.0, -96.9, lambda: first.clock.now)
    late.rates = Work(read=1.0)
    share(first, plan, late)
    assert [first.clock.now, other[0].clock.now] == [0.0, 0.0]
    early = Budget(100.0, 0.0, lambda: first.clock.now)
    early.rates = Work(read=1.0)
    share(first, plan, early)
    assert [first.clock.now, other[1].clock.now] == [34.0, 8.0]


def _none() -> Budget:
    return Budget(None, 0.0, lambda: 0.0)
