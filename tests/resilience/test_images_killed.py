"""`kill -9` of a run on a classifier at any moment: the same command resumes, and ends with the same bits."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest

from fork_server import Commands, Whole
from small import leftovers, results
from small_images import SMALL_IMAGES, write_class_folders

COMMAND = ["run", "recipe.yaml", "--retrained", "train", "--method", "scrub", "--method.epochs", "2"]
COMMAND += ["--save_seconds", "1e-6"]
"a run that goes through every stage and writes a checkpoint after every epoch"


@pytest.fixture(scope="module")
def images_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which commands are typed, with `pictures` and `recipe.yaml` in it."""
    folder = tmp_path_factory.mktemp("images")
    write_class_folders(folder / "pictures")
    parts: dict[str, dict[str, object]] = {}
    lines = ["task: image_classifier", "data: pictures"]
    for name, value in SMALL_IMAGES.items():
        part, _, field = name.rpartition(".")
        parts.setdefault(part, {})[field] = value
    lines += [f"{field}: {value}" for field, value in parts.pop("").items()]
    lines += [f"{part}: {{{', '.join(f'{f}: {v}' for f, v in fields.items())}}}" for part, fields in parts.items()]
    (folder / "recipe.yaml").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def whole_images(commands: Commands, images_place: Path) -> tuple[Whole, int]:
    """The run left in peace, and its exit code."""
    ended = commands.run([*COMMAND, "--out", "whole"], images_place)
    assert ended.code in (0, 3), ended.err
    return Whole(results(images_place / "whole"), ended.cpu), ended.code


@pytest.mark.long  # test_killed.py does it to a language model in every test run
def test_at_random_moments(commands: Commands, images_place: Path, whole_images: tuple[Whole, int]) -> None:
    whole, code = whole_images
    generator = random.Random(3)
    out = images_place / "killed"
    killed = 0
    for number in range(4):
        running = commands.start([*COMMAND, "--out", out.name], images_place)
        if running.reaches((number + generator.random()) / 4 * whole.cpu):
            running.send(signal.SIGKILL)
        ended = running.wait()
        if ended.code == -signal.SIGKILL:
            killed += 1
            continue
        assert ended.code == code, ended.err
        assert results(out) == whole.results
        shutil.rmtree(out)
    ended = commands.run([*COMMAND, "--out", out.name], images_place)
    assert killed > 1
    assert ended.code == code, ended.err
    assert results(out) == whole.results
    assert leftovers(out) == []
    assert list((out / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("function", "number"),
    [
        ("expunge.train.checkpoint:save_checkpoint", 2),
        ("expunge.kinds.classifier.story:save_classifier", 3),
    ],
)
def test_at_its_weakest_moments(
    function: str, number: int, commands: Commands, images_place: Path, whole_images: tuple[Whole, int]
) -> None:
    """Between two epochs; before the model gets its name."""
    whole, code = whole_images
    out = images_place / function.rpartition(":")[2]
    ended = commands.run([*COMMAND, "--out", out.name], images_place, on_call=(function, number, signal.SIGKILL))
    assert ended.code == -signal.SIGKILL, ended.err
    ended = commands.run([*COMMAND, "--out", out.name], images_place)
    assert ended.code == code, ended.err
    assert results(out) == whole.results
    assert leftovers(out) == []


def test_a_signal_says_how_to_go_on(commands: Commands, images_place: Path, whole_images: tuple[Whole, int]) -> None:
    on_call = ("expunge.kinds.classifier.story:unlearn", 1, signal.SIGTERM)
    ended = commands.run([*COMMAND, "--out", "signalled"], images_place, on_call=on_call)
    assert ended.code == 130
    said = ended.err[ended.err.index("expunge: ") :]
    assert said == ("expunge: interrupted by SIGTERM\n  next:    run the same command again: it resumes in signalled\n")
    assert leftovers(images_place / "signalled") == []
