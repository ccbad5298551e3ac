"""Experiment trackers: what reaches them, and what is said of those that are not there."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tensorboardX.proto import event_pb2

import expunge
from expunge.errors import RunError
from expunge.runs.folder import RunFolder
from small import SMALL, write_texts


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """tag -> step -> value, of all event files of TensorBoard below a folder."""
    found: dict[str, dict[int, float]] = {}
    for path in folder.rglob("events.out.tfevents.*"):
        content = path.read_bytes()
        place = 0
        while place < len(content):
            (length,) = struct.unpack("<Q", content[place : place + 8])
            event = event_pb2.Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def forget(model: Path, folder: Path, *names: str) -> RunFolder:
    target, retain = write_texts(folder)
    options = SMALL | {"retain": str(retain), "model": str(model), "method": "gradient_difference"}
    return expunge.forget(str(target), out=folder / "run", log_with=names, **options)


def test_tensorboard_holds_every_step_and_all_scores(tiny_model_folder: Path, tmp_path: Path) -> None:
    run = forget(tiny_model_folder, tmp_path, "tensorboard")
    found = scalars(run.path / "trackers")
    steps = list(run.read_events("step"))
    assert steps
    assert found["training/loss"] == {row["step"]: pytest.approx(row["loss"]) for row in steps}
    assert found["training/step"] == {row["step"]: row["step"] for row in steps}
    assert found["training/learning_rate"].keys() == found["training/loss"].keys()
    for score in run.read_scores():
        assert list(found[f"{score.measure}/{score.split}/{score.model}"].values()) == [pytest.approx(score.value)]
    assert not run.listeners


def test_a_tracker_that_fails_ends_no_run(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, values: object, **more: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("accelerate.tracking.TensorBoardTracker.log", fail)
    run = forget(tiny_model_folder, tmp_path, "tensorboard")
    assert run.report.is_file()
    assert {(row["tracker"], row["error"]) for row in run.read_events("tracker_failed")} == {
        ("tensorboard", "no network")
    }


def test_what_is_no_tracker_and_what_is_not_installed_is_said(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="there is no tracker 'tensorbord'") as caught:
        forget(tiny_model_folder, tmp_path, "tensorbord")
    assert caught.value.next_step == "did you mean tensorboard?"
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    with pytest.raises(RunError, match="the tracker wandb is not installed"):
        forget(tiny_model_folder, tmp_path, "wandb")
