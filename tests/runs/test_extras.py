"""Measures and attacks of other packages: installed, measured, judged, shown and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import expunge
from expunge.core.score import Score
from expunge.errors import RecipeError
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.language.recipe import Verdict, make_recipe
from expunge.report.verify import verify_run
from expunge.runs import extras, measures
from expunge.runs.check import Threshold, ratio_at_least
from expunge.runs.folder import RunFolder
from expunge.runs.measure import Measure
from expunge.runs.recipe import BaseRecipe, make
from plain_score import plain_score as score
from small import SMALL, write_texts
from small_generators import SMALL_GENERATOR
from small_images import SMALL_IMAGES, write_class_folders
from verdicts import judge

PLUGINS = Path(__file__).parents[1] / "plugins"
POINTS = "[expunge.measures]\nmin_k = min_k:EXTRA\nrelearning = relearning:EXTRA\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an installer leaves of a package with two measures, one of which trains a copy."""
    information = tmp_path / "installed" / "toy-0.1.dist-info"
    information.mkdir(parents=True)
    for name in ("min_k.py", "relearning.py"):
        shutil.copy(PLUGINS / name, tmp_path / "installed")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 0.1\n")
    (information / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path / "installed")


@pytest.fixture
def wanted(tiny_model_folder: Path, tmp_path: Path) -> dict[str, Any]:
    forget, retain = write_texts(tmp_path)
    return {"model": str(tiny_model_folder), "forget": str(forget), "retain": str(retain),
            "method": {"name": "gradient_ascent"}, "seed": 0} | SMALL  # fmt: skip


@pytest.mark.usefixtures("installed")
def test_the_examples_are_measured_judged_and_worded(wanted: dict[str, Any], tmp_path: Path) -> None:
    content = {"measures": ["min_k", "relearning"], "verdict": {"more": {"min_k": 0.3}}}
    plain = {name: value for name, value in wanted.items() if "." not in name}
    dotted = {name: value for name, value in wanted.items() if "." in name}
    run = expunge.run(make_recipe(plain | content, dotted), tmp_path / "run")
    found = {(each.measure, each.model): each for each in run.read_scores()}
    assert 0 < found["min_k", "base"].value < 1
    assert found["perplexity_relearned", "unlearned"].value > 1
    record = json.loads(run.record.read_text(encoding="utf-8"))
    assert record["thresholds"]["more"] == {"min_k": 0.3, "perplexity_relearned": 0.9}
    checks = {check["name"]: check for check in record["verdict"]["checks"]}
    assert checks["min_k"]["threshold"] == 0.3
    assert checks["min_k"]["value"] == pytest.approx(found["min_k", "unlearned"].value / found["min_k", "base"].value)
    before, after = (found["perplexity_relearned", which].value for which in ("base", "unlearned"))
    assert checks["perplexity_relearned"]["explain"] == f"{before:.2f} before, {after:.2f} after"
    card = (run.model / "README.md").read_text(encoding="utf-8")
    for text in (run.report.read_text(encoding="utf-8"), card.replace("\\", "")):
        assert "Min-K% probability" in text
        assert "How likely the model finds the least likely fifth" in text
    assert "What is left of the probability of the least likely tokens" in run.report.read_text(encoding="utf-8")
    assert [each.what for each in verify_run(run) if each.ok is False] == []
    # an attack changes a copy of its own, so that what is measured by others is the same
    alone = expunge.run(make_recipe(plain, dotted), tmp_path / "alone")
    others = [each for each in run.read_scores() if each.measure not in ("min_k", "perplexity_relearned")]
    assert others == alone.read_scores()
    again = expunge.run(make_recipe(plain | content, dotted), tmp_path / "run")
    stages = [row for row in again.read_events("stage") if row["name"].startswith("measured-base-")]
    assert [row["reused"] for row in stages] == [False, False, True, True]


def test_a_verdict_that_needs_a_package_is_not_made_without_it(tmp_path: Path) -> None:
    found = [score("perplexity", "ordinary", which, 10.0) for which in ("base", "unlearned")]
    (check,) = [c for c in judge(found, Verdict(more={"min_k": 0.3}))["checks"] if c["name"] == "min_k"]
    assert (check["passed"], check["value"]) == (False, None)
    assert "not installed" in check["explain"]


@pytest.mark.usefixtures("installed")
def test_a_limit_without_a_score_is_not_met() -> None:
    found = [score("perplexity", "ordinary", which, 10.0) for which in ("base", "unlearned")]
    (check,) = [c for c in judge(found, Verdict(more={"min_k": 0.3}))["checks"] if c["name"] == "min_k"]
    assert (check["passed"], check["explain"]) == (False, "not measured")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"measures": ["min_j"]}, "did you mean min_k"),
        ({"measures": ["min_k"], "verdict": {"more": {"max_k": 1.0}}}, "max_k"),
        ({"verdict": {"more": {"min_k": 1.0}}}, "min_k"),
    ],
)
def test_what_is_not_there_is_refused(content: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as error:
        extras.with_extras(make_recipe({"forget": "x", **content}, {}), ["causal_lm"])
    assert told in str(error.value)


@pytest.mark.usefixtures("installed")
def test_a_measure_of_another_kind_is_refused() -> None:
    with pytest.raises(RecipeError, match="for this kind of model"):
        extras.with_extras(make_recipe({"forget": "x", "measures": ["min_k"]}, {}), ["image_classifier"])


@pytest.mark.usefixtures("installed")
def test_words_of_other_packages_are_found_after_those_of_expunge() -> None:
    found = measures.measure("min_k")
    assert isinstance(found, Measure)
    assert found.unit == "probability"
    assert measures.threshold("perplexity_relearned") is not None
    assert "min_k" not in measures.measures()


def test_a_measure_makes_scores_with_its_unit_and_direction() -> None:
    recall = measures.measures()["verbatim_recall"]
    on_forget = recall.score("forget", "base", (0.5, 0.4, 0.6), [0.4, 0.6])
    expected = Score(measure="verbatim_recall", split="forget", model="base", value=0.5, low=0.4, high=0.6, n=2,
                     higher_is="worse", unit="ROUGE-L F1", examples=(0.4, 0.6))  # fmt: skip
    assert on_forget == expected
    assert recall.score("retain", "base", (0.5, 0.4, 0.6), n=7, unit="x").row() == {
        "measure": "verbatim_recall", "split": "retain", "model": "base", "value": 0.5, "low": 0.4, "high": 0.6, "n": 7,
        "higher_is": "better", "unit": "x",
    }  # fmt: skip


def test_a_run_without_them_asks_no_package(wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "installed", lambda: pytest.fail("asked"))
    recipe = make_recipe({"forget": "x"}, {})
    assert extras.with_extras(recipe, ["causal_lm"]) is recipe
    assert extras.extra_thresholds({}) == []


def test_verify_says_where_a_package_is_missing(
    installed: None, wanted: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {name: value for name, value in wanted.items() if "." not in name} | {"measures": ["min_k"]}
    run = expunge.run(make_recipe(plain, {k: v for k, v in wanted.items() if "." in k}), tmp_path / "run")
    monkeypatch.setattr(extras, "entry_points", lambda group: [])
    told = {each.what: each.ok for each in verify_run(RunFolder(run.path))}
    assert False not in told.values()
    assert any("min_k" in what and ok is None for what, ok in told.items())


SHARE = Measure("share_changed", "Weights changed", "How much an attack moved the weights.", unit="share")


def moved(load: Any, sets: Any, which: str) -> list[Score]:
    """Doubles the weights of one copy; another is as it was."""
    first, second = load(), load()
    with torch.no_grad():
        for weights in first.model.parameters():
            weights.mul_(2)
    pairs = list(zip(first.model.parameters(), second.model.parameters(), strict=True))
    same = float(all(torch.equal(a, 2 * b) for a, b in pairs))
    return [SHARE.score("forget", which, (same, same, same), n=len(sets.tensors["forget"]))]  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["image_classifier", "image_to_image"])
def test_pictures_have_them_too(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_class_folders(tmp_path / "data")
    limit = Threshold(
        "share_changed",
        "Moved",
        "at least: what moved",
        ratio_at_least(measure="share_changed", split="forget", explain="{before} {after}"),
        default=1.0,
    )
    extra = extras.Extra(kinds=(task,), measures=(SHARE,), take=moved, thresholds=(limit,), changes=True)
    point = SimpleNamespace(name="moved", group=extras.MEASURES, value="x:EXTRA", dist=None, load=lambda: extra)
    monkeypatch.setattr(extras, "_points", lambda: iter([point]))
    content = {"task": task, "data": str(tmp_path / "data"), "forget": "class:ant", "measures": ["moved"]}
    if task == "image_to_image":
        recipe: BaseRecipe = make(GeneratorRecipe, content, SMALL_GENERATOR | {"evaluation.attack_pictures": 0})
    else:
        recipe = make(ImageRecipe, content, SMALL_IMAGES | {"method.name": "fine_tune"})
    run = expunge.run(recipe, tmp_path / "run")
    found = [each for each in run.read_scores() if each.measure == "share_changed"]
    assert [(each.model, each.value) for each in found] == [("base", 1.0), ("unlearned", 1.0)]
    checks = json.loads(run.record.read_text(encoding="utf-8"))["verdict"]["checks"]
    assert [check["passed"] for check in checks if check["name"] == "share_changed"] == [True]
    assert "How much an attack moved the weights" in run.report.read_text(encoding="utf-8")
