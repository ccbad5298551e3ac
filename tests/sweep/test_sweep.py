"""Sweeps of the tiny model: trials that fail and trials that do not, a sweep that is killed, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cheap_figures import drawing
from expunge.errors import DataError, Interrupted, RunError
from expunge.kinds.language.recipe import Recipe
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import read_recipe
from expunge.sweep import run as run_
from expunge.sweep.axes import Space, read_space
from expunge.sweep.report import render_sweep, sweep_table
from expunge.sweep.run import run_sweep
from expunge.sweep.study import TrialResult
from small import SMALL, leftovers, results, write_texts

OVER = ("training.learning_rate=1e-3,1e30", "training.max_steps=2,3")


@pytest.fixture(scope="module")
def space(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Space:
    """Four combinations; with a learning rate of 1e30 nothing is left of a model."""
    forget, retain = write_texts(tmp_path_factory.mktemp("texts"))
    fields = {
        "model": str(tiny_model_folder),
        "forget": str(forget),
        "retain": str(retain),
        "method": "gradient_difference",
    }
    fixed = {name: value for name, value in SMALL.items() if name.startswith(("data", "evaluation"))}
    fixed |= {"evaluation.familiarity": False}
    return read_space(Recipe, fields, fixed, OVER, "recipe.yaml")


@pytest.fixture(scope="module")
def swept(space: Space, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep that has ended, and what came of it. Read only."""
    out = tmp_path_factory.mktemp("sweep") / "s"
    found = run_sweep(space, out, trials=30)
    with drawing():
        render_sweep(RunFolder(out))
    return out, found


def test_every_trial_is_a_run_and_one_that_fails_ends_nothing(swept: tuple[Path, dict[str, Any]]) -> None:
    out, found = swept
    assert [each["values"] for each in found["trials"]] == [
        {"training.learning_rate": rate, "training.max_steps": steps} for rate in (1e-3, 1e30) for steps in (2, 3)
    ], "no more combinations than trials: each has its turn"
    good, bad = found["trials"][:2], found["trials"][2:]
    for each in bad:
        assert each["failed"]
        assert each["left"] is None
        assert not RunFolder(out / each["run"]).record.exists()
    for each in good:
        folder = RunFolder(out / each["run"])
        scores = {(one.measure, one.split, one.model): one for one in folder.read_scores()}
        before, after = (scores["perplexity", "forget", model] for model in ("base", "unlearned"))
        assert each["left"] == pytest.approx(before.value / after.value)
        shown = each["left_score"]
        assert (shown["value"], shown["low"], shown["n"]) == (after.value, after.low, after.n)
        assert each["damage"] >= 0
        assert read_recipe(folder.recipe).model_dump()["training"]["max_steps"] == each["values"]["training.max_steps"]
    assert set(found["front"]) <= {"trial 0", "trial 1"}
    assert found["front"]
    assert leftovers(out) == []


def test_recipes_on_the_front_are_ready_to_run(swept: tuple[Path, dict[str, Any]]) -> None:
    out, found = swept
    assert [path.name for path in sorted((out / "best").iterdir())] == sorted(
        Path(path).name for path in found["best"].values()
    )
    for name, path in found["best"].items():
        [trial] = [each for each in found["trials"] if each["name"] == name]
        assert read_recipe(out / path) == read_recipe(out / trial["run"] / "recipe.yaml")
        assert (out / path).read_text().startswith(f"# {name} of a sweep: ")


def test_what_trials_have_in_common_is_made_once(swept: tuple[Path, dict[str, Any]]) -> None:
    out, _ = swept
    stages = {row["name"]: row["reused"] for row in RunFolder(out / "trials/001").read_events("stage")}
    assert stages["measured-base"]
    assert stages["forget-tokens"]
    assert not stages["unlearned"]
    [first], [second] = (list((out / run / "stages").glob("measured-base-*")) for run in ("trials/000", "trials/001"))
    assert (first / "measured.json").samefile(second / "measured.json")
    assert not list((out / "stages").glob("*unlearned*"))


def test_a_sweep_that_was_killed_goes_on(
    space: Space, swept: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = swept
    done = run_.run_trial

    def killed(trial: Any, show: Any = None) -> TrialResult:
        if trial.number == 1:
            raise Interrupted("interrupted by SIGINT", next_step="resume the trial")
        return done(trial, show)

    with monkeypatch.context() as patch:
        patch.setattr(run_, "run_trial", killed)
        with pytest.raises(Interrupted) as caught:
            run_sweep(space, tmp_path / "s", trials=4)
    assert caught.value.next_step == f"run the same command again: it resumes in {tmp_path / 's'}"
    assert not (tmp_path / "s/sweep.json").exists()
    asked: list[int] = []

    def counted(trial: Any, show: Any = None) -> TrialResult:
        asked.append(trial.number)
        if trial.number > 1:
            return TrialResult(trial.number, trial.values, failed="not made in this test")
        return done(trial, show)

    monkeypatch.setattr(run_, "run_trial", counted)
    again = run_sweep(space, tmp_path / "s", trials=4)
    assert asked == [1, 2, 3], "the first one was whole"
    for each, other in zip(again["trials"][:2], found["trials"][:2], strict=True):
        assert each | {"seconds": 0} == other | {"seconds": 0}
        assert results(tmp_path / "s" / each["run"]) == results(out / other["run"])


def test_a_sweep_that_has_ended_is_read_again(
    space: Space, swept: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = swept

    def never(trial: Any, show: Any = None) -> TrialResult:
        raise AssertionError("it was made already")

    monkeypatch.setattr(run_, "run_trial", never)
    assert run_sweep(space, out, trials=30) == found
    other = read_space(space.kind, space.fields, space.fixed, ("training.max_steps=2,4",), "recipe.yaml")
    with pytest.raises(RunError, match=r"holds another run: its recipe differs in sweep\.training") as caught:
        run_sweep(other, out, trials=30)
    assert caught.value.next_step is not None


def test_what_no_settings_would_change_ends_the_sweep_and_leaves_nothing(space: Space, tmp_path: Path) -> None:
    fields = {**space.fields, "forget": str(tmp_path / "none.txt")}
    gone = read_space(space.kind, fields, space.fixed, OVER, "recipe.yaml")
    with pytest.raises(DataError):
        run_sweep(gone, tmp_path / "s", trials=2)


def test_the_page_is_escaped_and_holds_every_trial(swept: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out, found = swept
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "4 trials" in page
    assert "Forgetting against damage" in page
    odd = json.loads(json.dumps(found).replace("trial 3", "<i>3"))
    odd["trials"][3]["failed"] = "<script>alert(1)</script>"
    (tmp_path / "sweep.json").write_text(json.dumps(odd))
    page = render_sweep(RunFolder(tmp_path)).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<i>3" not in page
    with pytest.raises(RunError, match="the sweep has not ended"):
        render_sweep(RunFolder(tmp_path / "other"))


def test_the_table_says_all(swept: tuple[Path, dict[str, Any]]) -> None:
    _, found = swept
    text = sweep_table(found)
    assert text.count(" *  ") == len(found["front"])
    assert "trial 2 failed (training.learning_rate 1e+30, training.max_steps 2): " in text
    assert "n\u00a0" not in text.splitlines()[0]
    assert "look" in text.splitlines()[-1], "the best of many looks better than it is"
    nothing = found | {"trials": found["trials"][2:], "front": []}
    assert sweep_table(nothing).startswith("No trial has scores.")
    assert "\n2 of 4 trials failed.\n" in text
    one = found | {"trials": found["trials"][2:3], "front": []}
    assert sweep_table(one).endswith("\n1 of 1 trial failed.")


def test_typed(typed: Any, swept: tuple[Path, dict[str, Any]], space: Space, tmp_path: Path) -> None:
    out, found = swept
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(dict(space.fields)))
    options = [word for name, value in space.fixed.items() for word in (f"--{name}", str(value))]
    over = [word for text in OVER for word in ("--over", text)]
    said = typed("sweep", path, *options, *over, "--out", out, "--json", "--quiet")
    assert said.code == 0
    assert json.loads(said.out) == found
    said = typed("sweep", path, *options, *over, "--out", out)
    assert f"Report: {out / 'report.html'}" in said.out
    assert typed("report", out).out == f"{out / 'report.html'}\n"
    assert typed("sweep", path).code == 2
    failing = ("--over", "training.learning_rate=1e30,1e31", "--method", "gradient_ascent", "--training.max_steps", "2")
    said = typed("sweep", path, *options, *failing, "--out", tmp_path / "failed")
    assert (said.code, "2 of 2 trials failed." in said.out) == (1, True), said
    assert "there is no recipe none.yaml" in typed("sweep", "none.yaml", *over).err
    assert typed("sweep", path, *over, "--trials", "0").err.startswith("expunge: nothing is to be tried")
