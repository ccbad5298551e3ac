"""Four processes that each hold a part of a model load, measure, train and save what one process does."""

from __future__ import annotations

from pathlib import Path

import in_parts
import pytest
import torch
from safetensors.torch import load_file
from test_parts import close
from test_processes import SPREAD

from expunge.core import storage
from fork_server import Commands
from tiny_model import build_tiny_model

HERE = Path(__file__).parent


@pytest.mark.long
def test_four_processes_do_what_one_does(tmp_path: Path, commands: Commands) -> None:
    stored = build_tiny_model(tmp_path / "stored", dtype="bfloat16")
    one, four = tmp_path / "one", tmp_path / "four"
    one.mkdir()
    four.mkdir()
    in_parts.tables(one)
    script = HERE / "in_four_parts.py"
    for done in [
        commands.run([stored, one, one], one, script=script),
        *commands.together(4, [stored, one, four], four, script=script, env=SPREAD),
    ]:
        assert done.code == 0, done.err[-3000:]
    for name in ("before.json", "after.json", *(f"{name}.json" for name in in_parts.RUNS)):
        close(storage.read_json(one / name), storage.read_json(four / name))
    base = load_file(stored / "model.safetensors")
    for name in in_parts.RUNS:
        whole = load_file(one / name / "model.safetensors")
        index = storage.read_json(four / name / "model.safetensors.index.json")["weight_map"]
        saved = {key: value for file in {*index.values()} for key, value in load_file(four / name / file).items()}
        assert saved.keys() == index.keys() == whole.keys()
        assert sum(float((whole[key] - base[key]).norm()) for key in whole) > 1
        for key, value in whole.items():
            torch.testing.assert_close(saved[key], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))
