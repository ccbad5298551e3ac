"""`kill -9` while a suite's questions are asked: the same command asks what is left, and ends with the same figures."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from fork_server import Commands
from small import leftovers
from tofu_data import write_tofu

ASKING = "expunge.suites.tofu.asking:answer_questions"
SPLITS = 5  # forget, retain, real authors, world facts, holdout


def test_what_was_answered_is_not_asked_again(commands: Commands, place: Path) -> None:
    write_tofu(place / "tofu")
    command = ["evaluate", "tiny", "--suite", "tofu", "--data", "tofu", "--forget", "forget25", "--rows", "2",
               "--new-tokens", "2", "--json"]  # fmt: skip
    whole = commands.run([*command, "--out", "whole.json"], place)
    assert whole.code == 0, whole.err
    killed = commands.run([*command, "--out", "killed.json"], place, on_call=(ASKING, 3, signal.SIGKILL))
    assert killed.code == -signal.SIGKILL
    so_far = place / "killed.json-so-far"
    assert len(list(so_far.glob("stages/answers-*/answers.json"))) == 2
    assert not (place / "killed.json").exists()
    again = SPLITS - 2 + 1  # one call more than are left would be the last
    ended = commands.run([*command, "--out", "killed.json"], place, on_call=(ASKING, again, signal.SIGKILL))
    assert ended.code == 0, ended.err
    assert json.loads(ended.out) == json.loads(whole.out)
    assert (place / "killed.json").read_bytes() == (place / "whole.json").read_bytes()
    assert not so_far.exists()
    assert leftovers(place) == []
    (so_far / "stages").mkdir(parents=True)
    (so_far / "recipe.yaml").write_text("mine")
    refused = commands.run([*command, "--out", "killed.json"], place)
    assert "is not the folder of an earlier run" in refused.err
    assert (so_far / "recipe.yaml").read_text() == "mine"
