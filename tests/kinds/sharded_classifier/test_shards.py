"""Runs on a SISA model: trained, asked, asked again, killed, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expunge.api import run
from expunge.core import storage
from expunge.errors import DataError, ModelError, RecipeError
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.session import Work
from expunge.kinds.sharded_classifier.model import read_sharded
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make
from small_images import pictures

COUNT = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = pictures(COUNT, side=8)
    path = tmp_path_factory.mktemp("data") / "faces.npz"
    people = np.arange(COUNT) // 4
    np.savez(path, images=np.moveaxis(made.pixels.numpy(), 1, 3), label=made.labels.numpy(), person=people)
    return path


def recipe(data: Path, forget: str, **overrides: Any) -> ImageRecipe:
    fields = {
        "data": str(data),
        "forget": forget,
        "method": {"name": "sisa", "shards": 2, "slices": 2, "together": "person"},
        "images": {"size": 8},
        "fitting": {"num_train_epochs": 1},
        "allow_chance_base": True,  # an epoch teaches nothing
    }
    return make(ImageRecipe, fields, overrides)


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(recipe(data, "person == 3", retrained="train"), tmp_path_factory.mktemp("runs") / "first")


def test_a_run_leaves_the_bits_of_the_retrained_model_and_says_so(first: RunFolder) -> None:
    record = storage.read_json(first.record)
    assert record["exact"]["equal_to_retrained"] is True
    trained = record["exact"]["stages_trained"]
    shards = {name.split("-")[1] for name in trained}
    assert len(shards) == 1  # all four pictures of one person
    assert record["cost"]["share_of_retraining"] < 0.75
    checks = {check["name"]: check for check in record["verdict"]["checks"]}
    assert checks["exact"]["passed"]
    assert "bit for bit" in checks["exact"]["explain"]
    assert "forget_gap" not in checks
    assert list(first.checkpoints.iterdir()) == []
    found = read_sharded(str(first.path))
    assert not {"12", "13", "14", "15"} & {member.id for member in found.members}
    assert first.report.is_file()
    assert (first.model / "README.md").is_file()
    assert [finding.what for finding in verify_run(first) if finding.ok is False] == []


def test_the_next_request_goes_on_from_there(first: RunFolder, data: Path, tmp_path: Path) -> None:
    members = {member.id: member for member in read_sharded(str(first.path)).members}
    person = int(next(iter(members))) // 4
    second = run(recipe(data, f"person == {person}", model=str(first.path), retrained="train"), tmp_path / "second")
    record = storage.read_json(second.record)
    assert record["exact"]["equal_to_retrained"] is True
    assert record["exact"]["stages"] == 4
    assert len(record["exact"]["stages_trained"]) <= 2
    assert [finding.what for finding in verify_run(second) if finding.ok is False] == []
    left = {member.id for member in read_sharded(str(second.path)).members}
    assert left == {id_ for id_ in members if int(id_) // 4 != person}


class Killed(BaseException):
    pass


def test_a_run_that_was_killed_goes_on(
    first: RunFolder, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = Work.train, [0]

    def dying(work: Work, *arguments: Any, **more: Any) -> None:
        calls[0] += 1
        if calls[0] == 4:
            raise Killed
        honest(work, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Work, "train", dying)
        with pytest.raises(Killed):
            run(recipe(data, "person == 3"), tmp_path / "run")
    trained = [0]

    def counted(work: Work, *arguments: Any, **more: Any) -> None:
        trained[0] += 1
        honest(work, *arguments, **more)

    monkeypatch.setattr(Work, "train", counted)
    folder = run(recipe(data, "person == 3"), tmp_path / "run")
    wanted = len(storage.read_json(folder.record)["exact"]["stages_trained"])
    assert trained[0] == 4 - 3 + wanted
    for path in ("sisa.json", "shard-00/model.safetensors", "shard-01/model.safetensors"):
        assert (folder.model / path).read_bytes() == (first.model / path).read_bytes()


def test_what_does_not_go_together_is_refused(first: RunFolder, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a SISA model: no other method works on it"):
        run(recipe(data, "person == 5", model=str(first.path), method="scrub"), tmp_path / "scrub")
    with pytest.raises(RecipeError, match="only from models that it trained, shard by shard"):
        run(recipe(data, "person == 5", model=str(first.model / "shard-00")), tmp_path / "whole")
    with pytest.raises(RecipeError, match="compared with shards that are trained here"):
        run(recipe(data, "person == 5", retrained=str(first.path)), tmp_path / "oracle")
    with pytest.raises(DataError, match="no column"):
        run(recipe(data, "person == 5", **{"method.together": "persn"}), tmp_path / "column")
    with pytest.raises(DataError, match="too few pictures for 16 shards of 2 slices"):
        run(recipe(data, "person == 5", **{"method.shards": 16}), tmp_path / "few")


def test_pictures_forgotten_before_cannot_be_forgotten_again(first: RunFolder, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="selects none of the"):
        run(recipe(data, "person == 3", model=str(first.path)), tmp_path / "again")


def test_pictures_that_are_gone_from_the_data_are_named(first: RunFolder, tmp_path: Path) -> None:
    made = pictures(40, side=8)
    path = tmp_path / "fewer.npz"
    people = np.arange(40) // 4
    np.savez(path, images=np.moveaxis(made.pixels.numpy(), 1, 3), label=made.labels.numpy(), person=people)
    with pytest.raises(DataError, match="pictures that the model was trained on are not in"):
        run(recipe(path, "person == 5", model=str(first.path)), tmp_path / "run")


def test_an_edited_shard_is_refused(first: RunFolder, data: Path, tmp_path: Path) -> None:
    copied = tmp_path / "model"
    with storage.folder_aside(copied) as aside:
        for path in first.model.rglob("*"):
            if path.is_file():
                storage.write_bytes(aside / path.relative_to(first.model), path.read_bytes())
    (copied / "shard-00" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"shard-00/config\.json is changed since"):
        run(recipe(data, "person == 5", model=str(copied)), tmp_path / "run")
