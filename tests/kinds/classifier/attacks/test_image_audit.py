"""`expunge audit` of image classifiers, from the models to page and JUnit XML, on planted cases."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from planted_pictures import PlantedPictures, small_net, teach, write_noise

from audit_checks import ALONE, by_name, check_no_picture_named, check_pages, check_reused, check_unseen, states
from expunge.auditing import Asked, audit
from expunge.errors import ExpungeError
from expunge.kinds.classifier.attacks.relearning import Relearning, Way
from expunge.kinds.classifier.audit import ImageAuditing
from expunge.kinds.generator.kind import KIND as GENERATORS
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import kinds_by_name
from expunge.runs.recipe import make
from expunge.runs.work import Work
from said import Type


@pytest.fixture
def run(planted: PlantedPictures, tmp_path: Path) -> RunFolder:
    """A copy of the planted run."""
    return RunFolder(shutil.copytree(planted.run.path, tmp_path / "run"))


def test_an_untouched_model_fails(planted: PlantedPictures, tmp_path: Path) -> None:
    found = planted.audited(planted.base, tmp_path / "audit", "quantize,membership,probe")
    assert found["control"]["kind"] == "retrained"
    rows = by_name(found)
    assert {name: rows[name]["passed"] for name in ("as_is", "quantize", "membership", "probe")} == {
        "as_is": False, "quantize": False, "membership": False, "probe": False
    }  # fmt: skip
    assert rows["as_is"]["value"] == pytest.approx(1.0, abs=0.02)
    assert rows["retain_kept"]["passed"]
    assert not found["passed"]
    assert len(found["facts_shown"]["beyond"]) > 30


def test_without_excerpts_no_picture_is_named(planted: PlantedPictures, tmp_path: Path) -> None:
    check_no_picture_named(planted, tmp_path)


def test_a_retrained_model_passes(planted: PlantedPictures, tmp_path: Path) -> None:
    again = planted.saved("again", teach(small_net(2), planted.sets.tensors["retain"]))
    found = planted.audited(again, tmp_path / "audit", "quantize,relearn_retain,membership")
    assert states(found) == dict.fromkeys(states(found), True)
    assert found["passed"]
    assert found["facts_shown"]["beyond"] == []


def test_what_is_hidden_comes_back_by_training_on_what_was_kept(planted: PlantedPictures, tmp_path: Path) -> None:
    hidden = planted.saved("hidden", planted.hidden())
    found = planted.audited(hidden, tmp_path / "audit", "relearn_retain,probe", **{"recipe": {"audit.excess": 0.1}})
    rows = by_name(found)
    assert rows["as_is"]["value"] < 0.05, "without an attack it looks forgotten"
    assert rows["relearn_retain"]["passed"] is not True, (
        "eight settings, sixty pictures: whether it failed may not be told"
    )
    assert rows["relearn_retain"]["low"] > 0.1
    assert rows["probe"]["value"] > rows["as_is"]["value"] + 0.25
    assert not found["passed"]


def test_a_destroyed_model_fails(planted: PlantedPictures, tmp_path: Path) -> None:
    found = planted.audited(planted.saved("random", small_net(3)), tmp_path / "random", "quantize")
    assert states(found)["as_is"] is True
    assert states(found)["retain_kept"] is False
    assert not found["passed"]
    broken = planted.task(planted.base)
    with torch.no_grad():
        next(broken.model.parameters()).fill_(float("nan"))
    found = planted.audited(planted.saved("broken", broken), tmp_path / "broken", "membership")
    assert states(found)["retain_kept"] is False
    assert "not numbers" in found["facts_shown"]["rows"][0]["said"]["unlearned"]
    assert not found["passed"]


def test_held_back_pictures_are_a_control(planted: PlantedPictures, tmp_path: Path) -> None:
    untouched = planted.audited(planted.base, tmp_path / "audit", "quantize,membership", **ALONE)
    assert untouched["control"]["kind"] == "holdout"
    assert untouched["facts"] < 60, "each picture that is asked for has a counterpart of its class"
    assert states(untouched)["as_is"] is False
    assert states(untouched)["membership"] is False
    assert untouched["facts_shown"]["beyond"] is None, "the control's pictures are others"
    innocent = planted.audited(planted.retrained, tmp_path / "innocent", "membership", **ALONE)
    assert states(innocent)["as_is"] is not False
    assert states(innocent)["membership"] is True


def test_unseen_pictures_may_be_given_and_are_looked_at(planted: PlantedPictures, tmp_path: Path) -> None:
    found = check_unseen(planted, write_noise(tmp_path / "given", 72, 1), tmp_path)
    assert states(found)["membership"] is False


def test_without_a_like_picture_there_is_no_control(planted: PlantedPictures, tmp_path: Path) -> None:
    whole = {"recipe": {"retrained": "none", "forget": "class:ant"}}
    found = planted.audited(planted.base, tmp_path / "audit", "quantize,membership", **whole)
    assert found["control"] is None
    assert states(found)["as_is"] is None
    assert not found["passed"]
    assert "--holdout" in {row["name"]: row["why"] for row in found["not_tested"]}["membership"]
    group = {"recipe": {"retrained": "none", "forget": "id < 'cat'", "audit.pictures": 20}}
    found = planted.audited(planted.base, tmp_path / "group", "quantize", **group)
    assert found["control"] is None, "of what a query means none are held back"
    few = {"recipe": {"forget": "random:5"}}
    with pytest.raises(ExpungeError, match="too few pictures"):
        planted.audited(planted.base, tmp_path / "few", "quantize", **few)


def test_the_same_command_reuses_what_it_found_and_limits_stay(run: RunFolder) -> None:
    check_reused(run, ("quantize", "prune"))


def test_a_budget_leaves_out_what_does_not_fit(
    planted: PlantedPictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageAuditing, "measured", lambda self, work: Work(trained=1e3 if work.trained else 0.0))
    found = planted.audited(planted.base, tmp_path / "audit", "quantize,relearn", budget=3600.0)
    left = {row["name"]: row["why"] for row in found["not_tested"]}
    assert "budget" in left["relearn"]
    assert "not requested" in left["probe"]
    assert not found["passed"]


def test_report_page_junit_and_verify(
    planted: PlantedPictures, run: RunFolder, monkeypatch: pytest.MonkeyPatch, typed: Type, drawn: None
) -> None:
    monkeypatch.setattr(Relearning, "ways", (Way("given", 1e-3),))
    words = ["--attacks", "quantize,relearn", "--control", planted.retrained]
    content, page = check_pages(run, typed, words, ["Audit: failed", "probability that the model gives its true class"])
    assert not content["passed"]
    assert re.fullmatch(r"picture .+/\d+\.png", content["facts_shown"]["rows"][0]["prompt"])
    assert "dog<b>" not in page
    assert "dog&lt;b&gt;" in page


def test_kinds_without_an_audit_say_so(
    planted: PlantedPictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kinds_by_name(), GENERATORS.name, replace(GENERATORS, audit=None))
    recipe = make(GeneratorRecipe, {"data": str(planted.data), "forget": "random:0.1"})
    with pytest.raises(ExpungeError, match="generators are not audited yet") as refused:
        audit(recipe, RunFolder(tmp_path / "run"), Asked())
    assert "image classifiers" in str(refused.value)
