"""`expunge verify` names what was changed in a run's folder, and says what it cannot check."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from whole_runs import failing

from expunge.kinds.language.recipe import load_recipe
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("made_once")
RECIPE = "recipe.yaml does not have the recorded digest"
REPORT = "report.html is not what the folder's other files make"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_verify_names_a_file_of_the_model_with_a_changed_byte(copied: RunFolder, name: str) -> None:
    path = copied.model / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert failing(copied) == [f"model/{name} does not have the recorded digest"]
    path.unlink()
    assert failing(copied) == [f"model/{name} is missing"]


def test_verify_names_a_file_that_was_added(copied: RunFolder) -> None:
    (copied.model / "extra.json").write_text("{}")
    assert failing(copied) == ["model/extra.json is not in the record"]


def test_verify_finds_a_score_that_was_made_better(copied: RunFolder) -> None:
    rows = json.loads(copied.scores.read_text())
    for row in rows:
        if (row["measure"], row["split"], row["model"]) == ("perplexity", "ordinary", "unlearned"):
            row["value"] *= 0.9
    copied.scores.write_text(json.dumps(rows))
    assert failing(copied) == [
        "scores.json does not have the recorded digest",
        "the verdict does not follow from scores.json and the recorded thresholds",
        REPORT,
    ]


def test_verify_finds_a_threshold_that_was_moved(copied: RunFolder) -> None:
    recipe = yaml.safe_load(copied.recipe.read_text())
    recipe["verdict"]["perplexity"] = 9.0
    copied.recipe.write_text(yaml.safe_dump(recipe))
    assert failing(copied) == [RECIPE, REPORT]
    record = json.loads(copied.record.read_text())
    record["thresholds"]["perplexity"] = 9.0
    copied.record.write_text(json.dumps(record))
    assert "the verdict does not follow from scores.json and the recorded thresholds" in failing(copied)


def test_verify_names_files_that_were_changed_and_files_that_are_gone(copied: RunFolder) -> None:
    """All at once, since each look draws the report again."""
    paths = [copied.path / name for name in ("answers.json", "per_example.json", "scores.json", "report.html")]
    found = [path.read_bytes() for path in paths]
    for path, content in zip(paths, found, strict=True):
        path.write_bytes(content + b" ")
    changed = failing(copied)
    assert REPORT in changed
    assert {f"{path.name} does not have the recorded digest" for path in paths[:3]} <= set(changed)
    for path in paths:
        path.unlink()
    assert {f"{path.name} is missing" for path in paths} <= set(failing(copied))
    for path, content in zip(paths, found, strict=True):
        path.write_bytes(content)
    assert failing(copied) == []


def test_verify_says_what_it_cannot_check(copied: RunFolder) -> None:
    shutil.rmtree(next(copied.stages.glob("sampled-general-*")))
    record = json.loads(copied.record.read_text())
    del record["digests"]["files"]["answers.json"]
    copied.record.write_text(json.dumps(record))
    findings = {finding.what: finding.ok for finding in verify_run(copied)}
    assert findings["answers.json: it is not in the record"] is None
    assert findings["the general set: sampled from the model, and no longer in stages/"] is None
    assert findings["the ordinary set, sampled from the model, has the recorded digest"] is True
    assert any(what.startswith("events.jsonl and stages/") and ok is None for what, ok in findings.items())
    assert any(what.startswith("the base model ") and ok for what, ok in findings.items())


def test_verify_names_a_set_that_was_changed(copied: RunFolder) -> None:
    recipe = load_recipe(copied.recipe)
    for name, path in {"forget": Path(recipe.forget), "retain": Path(str(recipe.retain))}.items():
        assert failing(copied) == []
        found = path.read_text()
        try:
            path.write_text(found.replace("night", "day").replace("wind", "gale"))
            assert failing(copied) == [f"the {name} set {path} does not have the recorded digest"]
            path.unlink()
            assert failing(copied) == []
            assert any(f"the {name} set" in finding.what and finding.ok is None for finding in verify_run(copied))
        finally:
            path.write_text(found)
