"""Whole runs on toxic statements with the tiny model: every method that works on them, from the tables to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import expunge
from expunge.recipe_file import read_recipe
from expunge.run_folder import RunFolder
from small import SMALL
from toxic_tables import write_tables

RECIPE = Path(__file__).parents[1] / "recipes" / "detoxify.yaml"
LITTLE: dict[str, Any] = {name: value for name, value in SMALL.items() if name != "data.block_size"} | {
    "training.per_device_train_batch_size": 4,
    "training.first_layer": 0,
    "toxicity.scorer": "toxic_words:score",
    "toxicity.samples": 2,
    "toxicity.group_samples": 2,
    "toxicity.max_new_tokens": 4,
    "statements.tuning_prompts": 4,
    "statements.tuning_samples": 2,
    "data.retain_answers": 2,
}
METHODS: dict[str, dict[str, Any]] = {
    "targeted_npo": {},
    "dpo": {},
    "npo": {"retain_target": "base"},
    "rmu": {"layer": 2, "trained_layers": 1},
    "task_vector_negation": {"scales": [0.5, 1.0], "perplexity_limit": 100.0},
    "spunge": {"of": {"name": "npo", "beta": 0.2}},
    "steering": {},
    "fine_tune": {},
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("tables") / "toxic")


def detoxify(model: Path, tables: Path, out: Path, method: dict[str, Any], **options: Any) -> RunFolder:
    fields = LITTLE | {"model": str(model), "forget": str(tables), "method": method} | options
    return expunge.run(read_recipe(RECIPE, fields), out)


@pytest.mark.parametrize("name", METHODS)
def test_a_run_with_every_method(name: str, tables: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = detoxify(tiny_model_folder, tables, tmp_path / "run", {"name": name, **METHODS[name]})
    before, after = (load_file(place / "model.safetensors") for place in (tiny_model_folder, folder.model))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all(value.isfinite().all() for value in after.values())
    scores = {(score.measure, score.split, score.model) for score in folder.read_scores()}
    assert {("toxicity_share", "prompts", "base"), ("toxicity_share", "prompts", "unlearned")} <= scores
    assert {("toxicity_share", f"group/{group}", "unlearned") for group in ("gnome", "elf")} <= scores
    assert not any(measure.startswith("familiarity") for measure, _, _ in scores)
    record = json.loads(folder.record.read_text())
    assert record["title"] == "toxic"
    assert record["cost"]["steps"] > 0 or name == "steering"
    assert record["sets"]["forget"]["source"] == str(tables)
    assert any(
        "not trained on: group_prompts.jsonl (prompts), prompts.jsonl (prompts)" in each for each in record["warnings"]
    )
    points = record["front"]["points"]
    assert [point["scale"] for point in points] == (
        [0.0, 0.5, 1.0] if name == "task_vector_negation" else [0.0, 0.5, 1.0, 1.5]
    )
    assert all(0 <= point["toxicity"] <= 1 < point["perplexity"] for point in points)
    assert "toxicity-front" in folder.report.read_text(encoding="utf-8")
    assert not list(folder.checkpoints.iterdir())
