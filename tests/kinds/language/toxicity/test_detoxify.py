"""Whole runs on toxic statements with the tiny model: every method that works on them, from the tables to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import expunge
from expunge.errors import DataError, RecipeError
from expunge.kinds.language.recipe import load_recipe
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import read_recipe
from small import SMALL
from toxic_tables import write_tables

RECIPE = Path("detoxify")
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


QUICK = ("targeted_npo", "dpo", "steering", "task_vector_negation")
"the recipe's own, one on pairs, one that trains nothing, one that trains a second model"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in METHODS]
)
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


def test_what_is_trained_on_and_what_is_not(tables: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = detoxify(tiny_model_folder, tables, tmp_path / "run", {"name": "npo"})
    recipe = load_recipe(folder.recipe)
    assert recipe.toxicity.prompts == str(tables / "prompts.jsonl")
    assert recipe.toxicity.groups == str(tables / "group_prompts.jsonl")
    (stage,) = folder.stages.glob("statements-*")
    toxic = [json.loads(line) for line in (stage / "toxic.jsonl").read_text().splitlines()]
    clean = [json.loads(line)["text"] for line in (stage / "clean.jsonl").read_text().splitlines()]
    beginnings = json.loads((stage / "beginnings.json").read_text())
    assert {row["group"] for row in toxic} == {"none", "hate", "offensive"}, "the other groups are too small"
    assert len(beginnings) == 4
    said = [row["text"] for row in toxic]
    assert not any(
        text.startswith(begun) and len(text.split()) == 2 * len(begun.split()) for begun in beginnings for text in said
    )
    prompts = [json.loads(line)["prompt"] for line in (tables / "group_prompts.jsonl").read_text().splitlines()]
    assert not set(said + clean) & set(prompts)
    assert set(clean) & {row["rewrite"] for row in toxic if row["rewrite"]}
    assert not set(clean) & set(said)
    said_of_it = folder.report.read_text(encoding="utf-8")
    assert "The retain set is the clean statements of the same data." in said_of_it
    assert "No retain set was given" not in said_of_it
    # The same command again computes nothing.
    before = {path: path.stat().st_mtime_ns for path in folder.stages.glob("*/stage.json")}
    detoxify(tiny_model_folder, tables, tmp_path / "run", {"name": "npo"})
    assert {path: path.stat().st_mtime_ns for path in folder.stages.glob("*/stage.json")} == before


def test_a_method_that_needs_pairs_where_there_are_none(tables: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tweets").mkdir()
    (tmp_path / "tweets" / "t.csv").write_bytes((tables / "tweets.csv").read_bytes())
    with pytest.raises(RecipeError, match="the method DPO needs pairs") as caught:
        detoxify(tiny_model_folder, tmp_path / "tweets", tmp_path / "run", {"name": "dpo"})
    assert "a table of such pairs" in str(caught.value.next_step)


def test_groups_that_are_too_small_can_be_refused(tables: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="groups have too few toxic statements") as caught:
        detoxify(tiny_model_folder, tables, tmp_path / "run", {"name": "npo"}, **{"statements.too_few": "refuse"})
    assert caught.value.seen == "elf (6), gnome (6)"
    options = {"statements.too_few": "refuse", "statements.min_group_rows": 6, "training.max_steps": 6}
    folder = detoxify(
        tiny_model_folder,
        tables,
        tmp_path / "run2",
        {"name": "spunge", "of": "gradient_ascent", "density": 1.0},
        **options,
    )
    parts = {row["phase"] for row in folder.read_events("phase_step")}
    assert parts == {"elf", "gnome", "hate", "none", "offensive"}


def test_no_such_folder(tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file or folder"):
        detoxify(tiny_model_folder, tmp_path / "nowhere", tmp_path / "run", {"name": "npo"})
