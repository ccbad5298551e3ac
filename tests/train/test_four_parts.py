"""Four processes that each hold a part of a model load, measure, train and save what one process does."""

from __future__ import annotations

from pathlib import Path

import in_four_parts
import in_parts
import pytest
import torch
from safetensors.torch import load_file
from test_parts import close
from test_processes import SPREAD, launch

from expunge.core import storage
from tiny_model import build_tiny_model

HERE = Path(__file__).parent


@pytest.mark.long
def test_four_processes_do_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_parts.saving_parts, "FILE_BYTES", 40_000)
    monkeypatch.setattr(in_parts, "Training", in_four_parts.of_four_batches)
    stored = build_tiny_model(tmp_path / "stored", dtype="bfloat16")
    one, four = tmp_path / "one", tmp_path / "four"
    one.mkdir()
    four.mkdir()
    in_parts.tables(one)
    in_parts.everything(str(stored), one, one)
    done = launch(4, stored, one, four, program=str(HERE / "in_four_parts.py"), env=SPREAD)
    assert done.returncode == 0, done.stderr[-3000:]
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
