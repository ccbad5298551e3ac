"""What the tests of broken-off runs share: a place with a model and texts, a run that was not broken off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fork_server import Commands, Whole
from small import SMALL, as_options, results, write_texts
from tiny_model import build_talker


@pytest.fixture(scope="session")
def place(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which commands are typed: `tiny` is the model, `forget.txt` and `retain.txt` the texts."""
    folder = tmp_path_factory.mktemp("place")
    build_talker(folder / "tiny", " Harry Potter", tiny_model_folder)
    write_texts(folder)
    return folder


EVERY_STEP = {"training.probe_steps": 1, "training.save_seconds": 1e-6}
TOPIC = [
    *["forget", "Harry Potter", "--model", "tiny"],
    *as_options(SMALL | EVERY_STEP | {"training.max_steps": 5, "training.num_train_epochs": 20}),
    *as_options({"data.elicited_answers": 10, "data.retain_answers": 10}),
]
"a run that goes through every stage and writes a checkpoint after every step"


@pytest.fixture(scope="session")
def command() -> Sequence[str]:
    return TOPIC


@pytest.fixture(scope="session")
def whole(commands: Commands, place: Path) -> Whole:
    """The run `command`, left in peace."""
    ended = commands.run([*TOPIC, "--out", "whole"], place)
    assert ended.code == 3, ended.err  # the tiny model knows nothing that it could forget
    return Whole(results(place / "whole"), ended.cpu)
