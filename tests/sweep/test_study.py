"""What is tried next, and the journal of what was."""

from __future__ import annotations

import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from expunge.errors import RunError, StorageError
from expunge.kinds.language.recipe import Recipe
from expunge.sweep.axes import Space, read_space
from expunge.sweep.study import Study, TrialResult, propose, require_optuna

FIELDS = {"model": "m", "forget": "a.txt", "retain": "b.txt", "method": {"name": "npo"}}


def space(*over: str) -> Space:
    return read_space(Recipe, FIELDS, {}, over, "recipe.yaml")


WIDE = space("method.beta=0.001..1", "training.max_steps=10..90", "training.optim=adamw_torch,adamw_bnb_8bit")


def told(number: int, beta: float, steps: int = 50, optim: str = "adamw_torch") -> TrialResult:
    """A made-up trial that is better in both the nearer beta is to 0.1."""
    values = {"method.beta": beta, "training.max_steps": steps, "training.optim": optim}
    score = {"measure": "perplexity", "split": "forget", "value": 2.0, "low": 1.5, "high": 2.5, "n": 4, "unit": ""}
    return TrialResult(number, values, left=abs(beta - 0.1), damage=abs(beta - 0.1), left_by="Recall", damage_by="Perplexity",
                left_score=score, damage_score=score, passed=True, seconds=1.5)  # fmt: skip


def test_proposals_lie_in_the_space_and_do_not_depend_on_when_they_are_asked_for() -> None:
    first = [propose(WIDE, 7, [number], 30, [])[0] for number in range(4)]
    assert first == [propose(WIDE, 7, [number], 30, [])[0] for number in range(4)]
    assert len({json.dumps(each) for each in first}) == 4
    assert first != [propose(WIDE, 8, [number], 30, [])[0] for number in range(4)]
    for each in first:
        assert 0.001 <= each["method.beta"] <= 1
        assert 10 <= each["training.max_steps"] <= 90
        assert isinstance(each["training.max_steps"], int)
        assert each["training.optim"] in ("adamw_torch", "adamw_bnb_8bit")


def test_of_trials_chosen_together_the_first_is_chosen_as_if_it_were_alone() -> None:
    before = [told(number, 0.01 * 2**number) for number in range(6)]
    assert propose(WIDE, 0, range(6, 9), 30, before)[0] == propose(WIDE, 0, [6], 30, before)[0]


def test_what_came_of_trials_decides_what_is_tried() -> None:
    before = [told(number, 0.001 * 1000 ** (number / 29)) for number in range(30)]  # the best is near 0.1
    near = [propose(WIDE, seed, [30], 99, before)[0]["method.beta"] for seed in range(5)]
    assert all(0.05 < beta < 0.2 for beta in near)
    assert not set(near) & {each.values["method.beta"] for each in before}
    failed = [replace(each, failed="diverged", left=None, damage=None) for each in before]
    far = [propose(WIDE, seed, [30], 99, failed)[0]["method.beta"] for seed in range(5)]
    assert not all(0.05 < beta < 0.2 for beta in far), "nothing is learned of a trial without scores"


def test_a_grid_is_gone_through_once() -> None:
    grid = space("training.max_steps=10,20", "seed=1..2")
    every = propose(grid, 0, range(4), 4, [])
    assert len(every) == 4
    done = [TrialResult(number, values) for number, values in enumerate(every[:3])]
    assert propose(grid, 0, [3, 4, 5], 30, done) == [every[3]]


def test_the_journal_is_json_lines_that_optuna_reads_and_no_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    def refuse(*_: object) -> None:
        raise AssertionError("a pickle was read")

    for name in ("loads", "load", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    trials = [told(0, 0.25), replace(told(1, 0.5), failed="diverged", left=None, damage=None), told(2, 1 / 3)]
    study = Study(tmp_path / "study.jsonl", WIDE)
    for each in trials:
        study.tell(each)
    assert Study(tmp_path / "study.jsonl", WIDE).results == dict(enumerate(trials))
    assert [json.loads(line)["op_code"] for line in (tmp_path / "study.jsonl").read_text().splitlines()]
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.jsonl")))
    theirs = optuna.load_study(study_name="sweep", storage=storage)
    assert [trial.state.name for trial in theirs.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert theirs.trials[2].params == trials[2].values
    assert theirs.trials[2].values == [trials[2].left, trials[2].damage]


def test_a_torn_line_and_a_lock_of_a_process_that_was_killed_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    study = Study(path, WIDE)
    study.tell(told(0, 0.25))
    whole = path.read_bytes()
    study.tell(told(1, 0.5))
    path.write_bytes(path.read_bytes()[:-30])
    (tmp_path / "study.jsonl.lock").symlink_to(path)
    again = Study(path, WIDE)
    assert list(again.results) == [0]
    assert path.read_bytes() == whole, "opening it writes nothing"
    again.tell(told(1, 0.75))
    assert Study(path, WIDE).results[1].values["method.beta"] == 0.75


@pytest.mark.parametrize("content", ["words\n", '{"op_code": 9}\n', "[]\n", '{"a": 1}\nb\n'])
def test_a_file_that_is_no_journal_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "study.jsonl").write_text(content)
    with pytest.raises(StorageError, match="is not a journal of a sweep, or was changed") as caught:
        Study(tmp_path / "study.jsonl", WIDE)
    assert caught.value.next_step is not None
    assert "delete that file" in caught.value.next_step


def test_optuna_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RunError, match="Optuna is not installed") as caught:
        require_optuna()
    assert caught.value.next_step == "pip install 'expunge[sweep]'"
