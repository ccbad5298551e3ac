"""`kill -9` at any moment: the same command resumes, and ends with the same bits."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from expunge.runs.folder import RunFolder
from fork_server import Commands, Whole
from small import leftovers, results


def begun(out: Path) -> str:
    """The stage that was begun last."""
    return ([str(row["name"]) for row in RunFolder(out).read_events("stage_started")] or ["nothing"])[-1]


def kill_at_random(
    commands: Commands, place: Path, command: Sequence[str], whole: Whole, kills: int, seed: int
) -> None:
    """Kill attempts after shares of a whole run's CPU time, drawn evenly; where one ends first, begin a new folder."""
    generator = random.Random(seed)
    stages: set[str] = set()
    killed, folder = 0, 0
    while killed < kills:
        shares = [(i + generator.random()) / 6 for i in range(6)]
        generator.shuffle(shares)
        for share in shares:
            out = place / f"killed-{seed}-{folder}"
            running = commands.start([*command, "--out", out.name], place)
            if running.reaches(share * whole.cpu):
                running.send(signal.SIGKILL)
            ended = running.wait()
            if ended.code == -signal.SIGKILL:
                killed += 1
                stages.add(begun(out))
                continue
            assert ended.code == 3, ended.err
            assert results(out) == whole.results
            assert leftovers(out) == []
            shutil.rmtree(out)
            folder += 1
    out = place / f"killed-{seed}-{folder}"
    ended = commands.run([*command, "--out", out.name], place)
    assert ended.code == 3, ended.err
    assert results(out) == whole.results
    assert leftovers(out) == []
    assert len(stages) > 2, stages


def test_at_random_moments(commands: Commands, place: Path, command: Sequence[str], whole: Whole) -> None:
    kill_at_random(commands, place, command, whole, kills=7, seed=1)


@pytest.mark.long
def test_at_many_random_moments(commands: Commands, place: Path, command: Sequence[str], whole: Whole) -> None:
    kill_at_random(commands, place, command, whole, kills=60, seed=2)


def kill_at_every(
    function: str, numbers: Sequence[int], commands: Commands, place: Path, command: Sequence[str], whole: Whole
) -> None:
    """Kill each attempt as one of its calls of a function begins, until one ends before that.

    Args:
        numbers: which call, redrawn for each attempt. Its largest is more than the longest stage needs: with a smaller one
            no attempt would ever finish it.
    """
    generator = random.Random(function)
    out = place / f"killed-at-{function.replace(':', '-')}-{numbers[0]}"
    for _ in range(400):
        number = generator.choice(numbers)
        ended = commands.run([*command, "--out", out.name], place, on_call=(function, number, signal.SIGKILL))
        if ended.code != -signal.SIGKILL:
            break
    assert ended.code == 3, ended.err
    assert results(out) == whole.results
    assert leftovers(out) == []


def test_right_before_a_file_gets_its_name(
    commands: Commands, place: Path, command: Sequence[str], whole: Whole
) -> None:
    kill_at_every("os:replace", [16], commands, place, command, whole)


@pytest.mark.long
@pytest.mark.parametrize(("function", "most"), [("os:replace", 12), ("os:fsync", 24), ("shutil:rmtree", 3)])
def test_at_every_touch_of_the_disk(
    function: str, most: int, commands: Commands, place: Path, command: Sequence[str], whole: Whole
) -> None:
    kill_at_every(function, range(1, most + 1), commands, place, command, whole)
