"""The type that a model is saved in, and what is measured of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from whole_runs import Forget, scores_of, without_control

from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from small import SMALL
from tiny_model import build_tiny_model

pytestmark = pytest.mark.usefixtures("made_once")


@pytest.fixture(scope="module")
def bf16_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("bf16") / "model", dtype="bfloat16")


def test_an_update_that_rounding_undoes_is_measured_as_undone(forget: Forget, bf16_model: Path, tmp_path: Path) -> None:
    """Steps far below the rounding of bfloat16: the model in memory has moved, the one on disk has not."""
    folder = forget(
        tmp_path / "run",
        model=str(bf16_model),
        save_dtype="bfloat16",
        **{"training.learning_rate": 1e-8, "training.bf16": False},
    )
    before, after = load_file(bf16_model / "model.safetensors"), load_file(folder.model / "model.safetensors")
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    kept = sum(int((before[name] == after[name]).sum()) for name in before)
    assert kept / sum(tensor.numel() for tensor in before.values()) > 0.99
    base, unlearned = without_control(scores_of(folder, "base")), scores_of(folder, "unlearned")
    assert {name: pytest.approx(value, rel=0.02) for name, value in base.items()} == unlearned
    assert json.loads((folder.model / "config.json").read_text())["dtype"] == "bfloat16"
    # Every model of a run is measured in one arithmetic, with weights as they were stored.
    model = AutoModelForCausalLM.from_pretrained(folder.model, dtype=torch.float32)
    task = CausalLM(model, AutoTokenizer.from_pretrained(folder.model))
    (table,) = folder.stages.glob("forget-tokens-*")
    on_disk = perplexity(task, TokenTable(table), "forget", "unlearned", SMALL["evaluation.max_blocks"])
    assert unlearned["perplexity", "forget"] == pytest.approx(on_disk.value, rel=1e-9)


def test_where_rounding_would_undo_it_the_model_is_saved_in_float32_and_the_record_says_so(
    forget: Forget, bf16_model: Path, tmp_path: Path
) -> None:
    folder = forget(tmp_path / "run", model=str(bf16_model), **{"training.learning_rate": 1e-6})
    assert {tensor.dtype for tensor in load_file(folder.model / "model.safetensors").values()} == {torch.float32}
    assert json.loads((folder.model / "config.json").read_text())["dtype"] == "float32"
    warnings = json.loads(folder.record.read_text())["warnings"]
    said = "saved as float32: rounding to the base model's bfloat16 would undo "
    assert sum(warning.startswith(said) for warning in warnings) == 1
    assert "saved as float32" in (folder.model / "README.md").read_text()
