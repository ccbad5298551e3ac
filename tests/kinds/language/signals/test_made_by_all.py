"""Several processes make the signals that one makes, each its share; one that fails keeps none waiting."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import made_by_all
import numpy as np
import pytest

from expunge.core import storage
from fork_server import Commands

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def one(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """What one process makes, and of how many batches and blocks."""
    folder = tmp_path_factory.mktemp("one")
    made_by_all.tables(folder)
    return folder, made_by_all.make(str(tiny_model_folder), folder, folder / "run")


@pytest.fixture(scope="module")
def two(
    one: tuple[Path, dict[str, int]],
    tiny_model_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    commands: Commands,
) -> Path:
    """What two make, each with a copy of the model, and each with a part of it."""
    folder = tmp_path_factory.mktemp("two")
    script = HERE / "made_by_all.py"
    for done in commands.together(2, [tiny_model_folder, one[0], folder], folder, script=script):
        assert done.code == 0, done.err[-3000:]
    return folder


def values(folder: Path) -> dict[str, np.ndarray]:
    """All that is in the files of all results, by place."""
    found = {}
    for file in sorted(folder.glob("stages/*/*.*")):
        place = f"{file.parent.name}/{file.name}"
        if file.suffix == ".npy":
            found[place] = np.load(file, allow_pickle=False)
        elif file.suffix == ".bin":
            found[place] = np.fromfile(file, np.float32 if "weights" in file.name else np.int32)
    return found


@pytest.mark.parametrize("way", ["copies", "parts"])
def test_two_processes_make_what_one_makes(way: str, one: tuple[Path, dict[str, int]], two: Path) -> None:
    alone, together = values(one[0] / "run"), values(two / way / "run")
    assert len({place.partition("/")[0] for place in alone}) == 11
    assert together.keys() == alone.keys()
    for place, value in alone.items():
        assert together[place].dtype == value.dtype
        np.testing.assert_allclose(together[place], value, rtol=1e-6, atol=1e-6, err_msg=place)


@pytest.mark.parametrize("way", ["copies", "parts"])
def test_each_process_makes_its_share(way: str, one: tuple[Path, dict[str, int]], two: Path) -> None:
    made = [storage.read_json(two / way / f"of-{place}.json")["made"] for place in (0, 1)]
    assert Counter(made[0]["all"]) + Counter(made[1]["all"]) == one[1]
    assert all(sum(each["all"].values()) > 0.4 * sum(one[1].values()) for each in made)
    # What lay there was read; of the retain set's 18 blocks each made nine.
    assert [each["again"] for each in made] == [{"hidden_states": 9}] * 2
    (before,), (after,) = ((two / way / part).glob("hidden-*/values.npy") for part in ("first", "run/stages"))
    np.testing.assert_array_equal(np.load(before), np.load(after))


@pytest.mark.parametrize("way", ["copies", "parts"])
def test_one_that_fails_keeps_none_waiting(way: str, two: Path) -> None:
    said = [storage.read_json(two / way / f"of-{place}.json")["said"] for place in (0, 1)]
    assert said[0][0] == "block 4 is bad"
    assert "another process could not do its part" in said[0][1]
    assert "process 1: ValueError: block 3 is bad" in said[0][1]
    assert ["the first process stopped" in each for each in said[1]] == [True, True]
