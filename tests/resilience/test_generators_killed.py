"""`kill -9` of a run on a generator at any moment: the same command resumes, and ends with the same bits."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest
import yaml

from fork_server import Commands, Whole
from small import leftovers, results
from small_generators import SMALL_GENERATOR
from small_images import write_class_folders

COMMAND = ["run", "recipe.yaml", "--retrained", "train", "--save_seconds", "1e-6"]
"a run that goes through every stage and writes a checkpoint after every epoch"


@pytest.fixture(scope="module")
def generators_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which commands are typed, with `pictures` and `recipe.yaml` in it."""
    folder = tmp_path_factory.mktemp("generators")
    write_class_folders(folder / "pictures")
    content: dict[str, object] = {"task": "image_to_image", "data": "pictures"}
    for name, value in SMALL_GENERATOR.items():
        part, _, field = name.rpartition(".")
        if part:
            inner = content.setdefault(part, {})
            assert isinstance(inner, dict)
            inner[field] = value
        else:
            content[field] = value
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture(scope="module")
def whole_generator(commands: Commands, generators_place: Path) -> tuple[Whole, int]:
    """The run left in peace, and its exit code."""
    ended = commands.run([*COMMAND, "--out", "whole"], generators_place)
    assert ended.code in (0, 3), ended.err
    return Whole(results(generators_place / "whole"), ended.cpu), ended.code


@pytest.mark.long  # test_killed.py does it to a language model in every test run
def test_at_random_moments(commands: Commands, generators_place: Path, whole_generator: tuple[Whole, int]) -> None:
    whole, code = whole_generator
    generator = random.Random(3)
    out = generators_place / "killed"
    killed = 0
    for number in range(4):
        running = commands.start([*COMMAND, "--out", out.name], generators_place)
        if running.reaches((number + generator.random()) / 4 * whole.cpu):
            running.send(signal.SIGKILL)
        ended = running.wait()
        if ended.code == -signal.SIGKILL:
            killed += 1
            continue
        assert ended.code == code, ended.err
        assert results(out) == whole.results
        shutil.rmtree(out)
    ended = commands.run([*COMMAND, "--out", out.name], generators_place)
    assert killed > 1
    assert ended.code == code, ended.err
    assert results(out) == whole.results
    assert leftovers(out) == []
    assert list((out / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("function", "number"),
    [
        # Checkpoints are those of classifiers: test_images_killed.py does it to one in every test run.
        pytest.param("expunge.train.checkpoint:save_checkpoint", 2, marks=pytest.mark.long),
        ("expunge.kinds.generator.story:save_generator", 3),
        ("expunge.kinds.generator.completions:save_completions", 2),
    ],
)
def test_at_its_weakest_moments(
    function: str, number: int, commands: Commands, generators_place: Path, whole_generator: tuple[Whole, int]
) -> None:
    """Between two epochs; before the model gets its name; before completions are kept."""
    whole, code = whole_generator
    out = generators_place / function.rpartition(":")[2]
    ended = commands.run([*COMMAND, "--out", out.name], generators_place, on_call=(function, number, signal.SIGKILL))
    assert ended.code == -signal.SIGKILL, ended.err
    ended = commands.run([*COMMAND, "--out", out.name], generators_place)
    assert ended.code == code, ended.err
    assert results(out) == whole.results
    assert leftovers(out) == []
