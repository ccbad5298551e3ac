"""The verbs that follow a run: evaluate, compare, report; what they add stays, and what the record says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from whole_runs import Forget, failing, scores_of, without_control

import expunge
from cheap_figures import drawing
from expunge import spine
from expunge.errors import RecipeError, RunError
from expunge.kinds.language.recipe import load_recipe
from expunge.runs import versions as versions_module
from expunge.runs.folder import RunFolder
from small import SMALL, contents, write_texts

pytestmark = pytest.mark.usefixtures("made_once")


@pytest.fixture
def benchmarks(tmp_path: Path) -> Path:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    texts = [["in the fog", "at the door"], ["a wind", "a window", "a street"]]
    rows = [
        {
            "question": f"Where is number {i}?",
            "choices": {"text": text, "label": list("ABC")[: len(text)]},
            "answerKey": "B",
        }
        for i, text in enumerate(texts * 3)
    ]
    (folder / "arc_easy.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_evaluate_adds_benchmarks_and_prompts(copied: RunFolder, benchmarks: Path, tmp_path: Path) -> None:
    before = {(s.measure, s.split, s.model): s for s in copied.read_scores()}
    weights = contents(copied.model)
    with pytest.raises(RecipeError, match="no benchmarks"):
        expunge.evaluate(copied.path, benchmark_rows=4)
    scores = expunge.evaluate(copied.path, benchmarks=str(benchmarks), benchmark_rows=4)
    assert scores == copied.read_scores()
    found = {(s.measure, s.split, s.model): s for s in scores}
    added = found.keys() - before.keys()
    assert added == {(m, "arc_easy", w) for m in ("accuracy", "accuracy_normalised") for w in ("base", "unlearned")}
    assert all(found[key].n == 4 for key in added)
    assert {key: found[key] for key in before} == before
    checks = {check["name"] for check in json.loads(copied.record.read_text())["verdict"]["checks"]}
    assert {"benchmark_mean_loss", "benchmark_worst_loss"} <= checks
    assert json.loads(copied.record.read_text())["measured_later"] == ["benchmarks", "benchmark rows"]
    assert "ARC" in copied.report.read_text()

    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "He went to Baker"}\n{"prompt": "The doctor was", "references": ["Watson"]}\n')
    found = {(s.measure, s.split, s.model): s for s in expunge.evaluate(copied.path, prompts=str(prompts))}
    assert found["familiarity_completion", "forget", "base"].n == 2
    assert found["familiarity_completion", "forget", "unlearned"].n == 2
    assert ("accuracy", "arc_easy", "base") in found  # what was measured last stays
    shown = [row["prompt"] for row in json.loads(copied.answers.read_text()) if row["group"] == "completion prompt"]
    assert shown == ["He went to Baker", "The doctor was"]
    assert {name: d for name, d in contents(copied.model).items() if name != "README.md"} == {
        name: digest for name, digest in weights.items() if name != "README.md"
    }
    assert failing(copied) == []


def test_a_retrained_model_may_be_given_later(copied: RunFolder, forget: Forget, tiny_model_folder: Path) -> None:
    weights = (copied.model / "model.safetensors").stat().st_mtime_ns
    forget(copied.path, retrained=str(tiny_model_folder))
    assert scores_of(copied, "retrained") == pytest.approx(without_control(scores_of(copied, "base")))
    forget(copied.path)
    assert scores_of(copied, "retrained")  # as with what `evaluate` added
    assert (copied.model / "model.safetensors").stat().st_mtime_ns == weights
    assert failing(copied) == []


def test_evaluate_from_another_folder(forget: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed with relative paths; later a file gets the name of the topic, and the commands are typed elsewhere."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    write_texts(here)
    monkeypatch.chdir(here)
    by_path = forget(Path("runs/a"), target="forget.txt", retain="retain.txt")
    topic = forget(Path("runs/b"), target="Baker Street and its people", retain="retain.txt")
    for folder in ("here", "elsewhere"):
        (tmp_path / folder / "Baker Street and its people").write_text("Something else that stands in a file. " * 20)
    digests = {folder: json.loads(folder.record.read_text())["digests"] for folder in (by_path, topic)}
    monkeypatch.chdir(elsewhere)
    for folder in (by_path, topic):
        expunge.evaluate(here / folder.path)
        assert json.loads((here / folder.record).read_text())["digests"] == digests[folder]
    assert json.loads((here / by_path.record).read_text())["title"] == "forget.txt"
    monkeypatch.chdir(here)
    started = len(list(topic.read_events("stage_started")))
    forget(Path("runs/b"), target="Baker Street and its people", retain="retain.txt")
    assert len(list(topic.read_events("stage_started"))) == started


def test_evaluate_any_model_on_the_sets_of_a_run(copied: RunFolder, tiny_model_folder: Path, tmp_path: Path) -> None:
    before = contents(copied.path)
    base = expunge.evaluate(tiny_model_folder, recipe=copied.recipe)
    assert {s.model for s in base} == {"unlearned"}
    expected = without_control(scores_of(copied, "base"))
    assert {(s.measure, s.split): s.value for s in base} == pytest.approx(expected, rel=1e-6)
    own = expunge.evaluate(copied.model, recipe=copied.recipe)
    assert {(s.measure, s.split): s.value for s in own} == scores_of(copied, "unlearned")
    after = contents(copied.path)
    assert {name for name in before if before[name] != after[name]} == {"events.jsonl"}
    other = tmp_path / "recipe.yaml"
    shutil.copy(copied.recipe, other)
    with pytest.raises(RunError, match="is not the recipe of a run"):
        expunge.evaluate(tiny_model_folder, recipe=other)
    assert {path.name for path in tmp_path.iterdir()} == {"copied", "recipe.yaml"}


def test_evaluate_refuses_a_folder_without_its_model(copied: RunFolder) -> None:
    weights = copied.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(RunError, match="no unlearned model, or one that was changed since"):
        expunge.evaluate(copied.path)
    shutil.rmtree(copied.model)
    with pytest.raises(RunError, match="run the command that started it again"):
        expunge.evaluate(copied.path)


@pytest.mark.parametrize(
    ("field", "value", "seen"),
    [("retain", None, "the retain set"), ("training.learning_rate", 1.0, "the recipe's training")],
)
def test_evaluate_refuses_a_recipe_that_was_changed(copied: RunFolder, field: str, value: Any, seen: str) -> None:
    recipe = load_recipe(copied.recipe, {field: value})
    copied.recipe.write_text(recipe.to_yaml())
    record = copied.record.read_bytes()
    with pytest.raises(RunError, match="was made from something else") as caught:
        expunge.evaluate(copied.path)
    assert caught.value.seen == f"changed since: {seen}"
    assert copied.record.read_bytes() == record


def test_compare(one_run: RunFolder, copied: RunFolder, tmp_path: Path) -> None:
    page = tmp_path / "comparison.html"
    text = str(expunge.compare([one_run.path, copied.path], page))
    assert "gradient ascent" in text
    assert "run" in text.splitlines()[0]
    assert "copied" in text.splitlines()[0]
    assert "</html>" in page.read_text()
    copied.scores.unlink()
    with pytest.raises(RunError, match=r"no scores\.json"):
        expunge.compare([one_run.path, copied.path])


def test_report_is_rewritten_from_the_folder(copied: RunFolder, one_run: RunFolder) -> None:
    from expunge.report.render import render_report

    copied.report.unlink()
    assert render_report(copied) == copied.report
    assert len(copied.report.read_text()) == pytest.approx(len(one_run.report.read_text()), rel=0.01)
    with drawing():
        render_report(copied)
        assert failing(copied) == []
    assert copied.report.read_text().count("<path") > 20


def test_what_is_trained_on_beside_the_retain_set_is_in_the_record(one_run: RunFolder, forget: Forget) -> None:
    record = json.loads(one_run.record.read_text())
    general = record["sets"]["general"]
    assert 0 < general["documents"] <= SMALL["data.retain_answers"]
    assert general["tokens"] > 0
    assert general["source"] == "sampled from the model"
    assert len(record["digests"]["general set"]) == 64
    assert "general text to retain" in one_run.report.read_text()


def test_thresholds_and_versions_are_those_of_the_training(copied: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads(copied.record.read_text())
    copied.recipe.write_text(load_recipe(copied.recipe, {"verdict.perplexity": 9.0}).to_yaml())
    monkeypatch.setattr(versions_module, "version_of", lambda package: "99")
    expunge.evaluate(copied.path)
    record = json.loads(copied.record.read_text())
    assert record["thresholds"] == before["thresholds"]
    assert record["thresholds"]["perplexity"] == 1.03
    assert record["verdict"] == before["verdict"]
    assert record["versions"] == before["versions"]
    told = " ".join(record["warnings"])
    assert "thresholds in recipe.yaml were changed after the training" in told
    assert f"torch 99 ({before['versions']['torch']})" in told


def test_the_first_command_again_keeps_what_evaluate_added(
    copied: RunFolder, forget: Forget, benchmarks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"On night {i} he went to"}) + "\n" for i in range(60)))
    seen = []
    render = spine.render_report
    monkeypatch.setattr(spine, "render_report", lambda folder: seen.append(folder.recipe.read_text()) or render(folder))
    recipe = yaml.safe_load(copied.recipe.read_text())
    recipe["evaluation"]["max_prompts"] = None
    copied.recipe.write_text(yaml.safe_dump(recipe))
    scores = expunge.evaluate(copied.path, benchmarks=str(benchmarks), prompts=str(prompts))
    assert seen == [copied.recipe.read_text()], "the report shows the recipe that was measured"
    assert str(prompts) in seen[0]
    asked = {s.n for s in scores if s.measure == "familiarity_completion" and s.split == "forget"}
    assert asked == {60}, "all prompts of a file"

    forget(copied.path)  # with evaluation.max_prompts 4
    scores = copied.read_scores()
    assert {s.n for s in scores if s.measure == "familiarity_completion" and s.split == "forget"} == {4}
    assert any(s.measure == "accuracy" for s in scores)
    told = json.loads(copied.record.read_text())["warnings"]
    assert "4 of the 60 prompts in prompts.jsonl are used (evaluation.max_prompts)" in told
