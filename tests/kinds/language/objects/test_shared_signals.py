"""Processes of a script make the signals of their models together, each its share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import shared_script
import torch
from safetensors.torch import load_file

from expunge.core import storage
from fork_server import Commands

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def one_and_two(
    tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory, commands: Commands
) -> tuple[Path, Path]:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    shared_script.main(str(tiny_model_folder), str(one))
    for done in commands.together(2, [tiny_model_folder, two], two, script=HERE / "shared_script.py"):
        assert done.code == 0, done.err[-3000:]
    return one, two


@pytest.mark.parametrize("name", ["signals", "others"])
def test_two_processes_make_what_one_makes(name: str, one_and_two: tuple[Path, Path]) -> None:
    one, two = one_and_two
    alone = load_file(one / f"{name}-0.safetensors")
    assert {key.rpartition("/")[0] for key in alone} == {
        *("forget/labels", "forget/reference_nll", "retain/labels", "retain/hidden_states"),
        *("retain/soft_ids", "retain/soft_weights"),
    }
    for place in (0, 1):
        together = load_file(two / f"{name}-{place}.safetensors")
        assert together.keys() == alone.keys()
        for key, value in alone.items():
            torch.testing.assert_close(together[key], value, rtol=1e-5, atol=1e-5)


def test_each_makes_its_share_where_their_models_are_the_same(one_and_two: tuple[Path, Path]) -> None:
    one, two = one_and_two
    whole = Counter(storage.read_json(one / "own-0.json")["all"])
    assert len(whole) > 3
    own = [storage.read_json(two / f"own-{place}.json") for place in (0, 1)]
    assert Counter(own[0]["all"]) + Counter(own[1]["all"]) == whole
    assert all(sum(each["all"].values()) > 0.35 * sum(whole.values()) for each in own)
    assert [each["others"] for each in own] == [dict(whole), {}]
