"""Run folders: events that survive a crash, scores that come back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expunge.core.score import Score
from expunge.errors import DataError, Interrupted, RunError, StorageError
from expunge.runs.folder import RunFolder


def test_opening_creates_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "a")
    assert list(folder.read_events()) == []
    assert not folder.path.exists()
    with pytest.raises(RunError, match=r"not a run folder: it does not exist"):
        folder.require()
    folder.create()
    folder.recipe.write_text("forget: x")
    assert folder.require() is folder


def test_create_clears_what_a_crash_left(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a").create()
    for place in (folder.path, folder.stages, folder.checkpoints, folder.checkpoints / "unlearning"):
        (place / ".model.aside-abcd_123").mkdir(parents=True)
        (place / "kept").mkdir()
    for name in ("scores.json", "recipe.yaml", "contest.json", "forget.txt", "target/answers.jsonl", "model/README.md"):
        path = folder.path / name
        path.parent.mkdir(exist_ok=True)
        path.with_name(f".{path.name}.aside-abcd_123").write_text("{")
    folder.create()
    assert [path for path in folder.path.rglob(".*")] == []
    assert len(list(folder.path.rglob("kept"))) == 4


def test_a_users_hidden_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    for name in (".emacs.d.old-2023", ".notes.aside-1", ".notes.aside-abcd_123"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("mine")
    RunFolder(tmp_path).create()
    assert len(list(tmp_path.glob(".*/mine"))) == 3


def test_a_run_does_not_write_among_files_that_no_run_made(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("forget: x")  # a user's own, for `expunge run`
    (tmp_path / "model").mkdir()
    with (
        pytest.raises(RunError, match="not the folder of an earlier run, and not empty") as caught,
        RunFolder(tmp_path).held(),
    ):
        pytest.fail("it was held")
    assert "model, recipe.yaml" in str(caught.value)
    assert "choose another --out" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "recipe.yaml"]
    (tmp_path / "stages").mkdir()
    with RunFolder(tmp_path).held():
        assert (tmp_path / "checkpoints").is_dir()
    file = tmp_path / "recipe.yaml"
    with pytest.raises(RunError, match=r"recipe\.yaml is a file; a run writes a folder"), RunFolder(file).held():
        pytest.fail("it was held")
    with pytest.raises(RunError, match="not empty"), RunFolder(tmp_path, known_by="teach.json").held():
        pytest.fail("it was held")


def test_a_run_that_was_killed_before_it_wrote_its_recipe_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run").create()
    folder.log("stage_started")
    (folder.path / ".lock").touch()
    (folder.path / ".recipe.yaml.aside-abcd_123").touch()
    with folder.held():
        assert not (folder.path / ".recipe.yaml.aside-abcd_123").exists()


def test_a_run_that_was_refused_leaves_no_folder_and_one_that_made_something_stays(tmp_path: Path) -> None:
    def refuse(folder: RunFolder, made: str | None = None) -> None:
        with folder.held():
            folder.claim({}, "forget: x")
            if made is not None:
                (folder.path / made).parent.mkdir(exist_ok=True)
                (folder.path / made).touch()
            raise DataError("no such target")

    new = RunFolder(tmp_path / "runs" / "new")
    with pytest.raises(DataError):
        refuse(new)
    assert not new.path.exists()
    for made in ("stages/elicited-so-far.json", "target/answers.jsonl"):
        kept = RunFolder(tmp_path / "runs" / made[:6])
        with pytest.raises(DataError):
            refuse(kept, made)
        assert (kept.path / made).exists()
    there = RunFolder(tmp_path / "there")
    there.path.mkdir()
    with pytest.raises(DataError):
        refuse(there)
    assert there.path.is_dir(), "it was there before"


def test_the_model_that_is_to_forget_is_never_written_to(tmp_path: Path) -> None:
    RunFolder(tmp_path / "new").refuse_base(tmp_path / "base")
    RunFolder(tmp_path / "new").refuse_base(None)
    for out in (tmp_path, tmp_path / "model", tmp_path / "model" / "runs" / "a", tmp_path / "runs" / ".."):
        with pytest.raises(RunError, match="the folder of the base model are the same, or one is inside the other"):
            RunFolder(out).refuse_base(tmp_path / "model")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(StorageError, match="cannot write"):
        RunFolder(tmp_path / "a").create()


def test_events_in_order_and_by_kind(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log("stage", name="terms")
    folder.log("step", step=1, loss=2.5, text="größe")
    folder.log("stage", name="labels")
    assert [row["event"] for row in folder.read_events()] == ["stage", "step", "stage"]
    assert [row["name"] for row in folder.read_events("stage")] == ["terms", "labels"]
    (step,) = folder.read_events("step")
    assert (step["loss"], step["text"]) == (2.5, "größe")
    times = [row["time"] for row in folder.read_events()]
    assert times == sorted(times)
    assert len(folder.events.read_text().splitlines()) == 3


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_closed_and_skipped(cut: int, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log("step", step=1)
    folder.log("step", step=2, text="größe")
    whole = folder.events.read_bytes()
    folder.events.write_bytes(whole[:-cut])
    expected = [1] if cut > 1 else [1, 2]  # without its newline only, the line is still whole
    assert [row["step"] for row in folder.read_events("step")] == expected
    folder.log("step", step=3)
    assert [row["step"] for row in folder.read_events("step")] == [*expected, 3]
    assert folder.events.read_bytes().endswith(b"\n")


def test_a_line_torn_inside_a_character(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log("step", step=1, text="é")
    content = folder.events.read_bytes()
    folder.events.write_bytes(content + content[: content.index("é".encode()) + 1])
    folder.log("step", step=2)
    assert [row["step"] for row in folder.read_events("step")] == [1, 2]


def test_after_a_resumption_the_later_event_of_a_step_counts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step, loss in ((1, 1.0), (2, 2.0), (3, 3.0), (2, 2.5), (3, 3.5), (4, 4.5)):
        folder.log("step", step=step, loss=loss)
    folder.log("probe", step=2, loss=9.0)
    assert [(row["step"], row["loss"]) for row in folder.steps("step")] == [(1, 1.0), (2, 2.5), (3, 3.5), (4, 4.5)]


def test_what_came_after_the_step_that_was_gone_on_from_does_not_count(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (1, 2, 3):
        folder.log("reinforced_step", step=step)
        folder.log("step", step=step)
    folder.log("resumed", step=2)
    assert [row["step"] for row in folder.steps("step")] == [1, 2]
    assert [row["step"] for row in folder.steps("reinforced_step")] == [1, 2, 3]
    folder.log("reinforced_resumed", step=1)
    assert [row["step"] for row in folder.steps("reinforced_step")] == [1]


def score(measure: str, examples: tuple[float, ...] = ()) -> Score:
    return Score(
        measure=measure,
        split="forget",
        model="base",
        value=0.5,
        low=0.25,
        high=0.75,
        n=3,
        higher_is="worse",
        unit="share",
        examples=examples,
    )


def test_scores_come_back_with_their_examples(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RunError, match=r"no scores\.json: the run is not finished"):
        folder.read_scores()
    scores = [score("perplexity", (1.0, 2.0, 3.0)), score("accuracy")]
    folder.write_scores(scores)
    assert folder.read_scores() == scores
    assert "values" not in json.loads(folder.scores.read_text())[0]
    folder.per_example.unlink()
    assert [one.examples for one in folder.read_scores()] == [(), ()]


def test_who_does_not_get_the_folder_takes_nothing_from_who_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands that both saw no folder: the second one leaves the first one's files alone."""
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    with first.held():
        first.claim({}, "forget: x")
        with monkeypatch.context() as patch:
            exists = Path.exists
            patch.setattr(Path, "exists", lambda path: path != second.path and exists(path))
            with pytest.raises(RunError, match="another process is at work"), second.held():
                pytest.fail("it was held twice")
        assert first.recipe.is_file()
        assert first.stages.is_dir()


def test_a_folder_whose_name_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long"), RunFolder(tmp_path / ("x" * 300)).held():
        pytest.fail("it was held")


def test_an_interrupted_run_keeps_its_folder_and_what_is_in_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")

    def leave() -> None:
        with folder.held():
            raise Interrupted("interrupted by SIGTERM")

    with pytest.raises(Interrupted):
        leave()
    assert folder.checkpoints.is_dir()
    assert folder.stages.is_dir()
