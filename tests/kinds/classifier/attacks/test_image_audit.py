"""`expunge audit` of image classifiers, from the models to page and JUnit XML, on planted cases."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from planted_pictures import PlantedPictures, small_net, teach, write_noise

import expunge
from expunge.auditing import Asked, audit
from expunge.cli import app
from expunge.cli.console import can_be_audited
from expunge.core import storage
from expunge.errors import ExpungeError
from expunge.kinds.classifier.attacks.relearning import Relearning, Way
from expunge.kinds.generator.kind import KIND as GENERATORS
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import kinds_by_name
from expunge.runs.recipe import make

ALONE: dict[str, Any] = {"recipe": {"retrained": "none"}}


@pytest.fixture
def run(planted: PlantedPictures, tmp_path: Path) -> RunFolder:
    """A copy of the planted run."""
    return RunFolder(shutil.copytree(planted.run.path, tmp_path / "run"))


def states(found: dict[str, Any]) -> dict[str, bool | None]:
    return {row["name"]: row["passed"] for row in found["findings"]}


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in found["findings"]}


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
    found = planted.audited(planted.base, tmp_path / "audit", "quantize", **{"recipe": {"excerpts": False}})
    assert found["facts_shown"]["rows"] == []
    assert found["facts_shown"]["beyond"], "how many are known is told"


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
    assert "no numbers" in found["facts_shown"]["rows"][0]["said"]["unlearned"]
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
    given = write_noise(tmp_path / "given", 72, 1)
    found = planted.audited(planted.base, tmp_path / "audit", "membership", holdout=str(given), **ALONE)
    assert states(found)["membership"] is False
    with pytest.raises(ExpungeError, match="are in the forget set, too"):
        planted.audited(planted.base, tmp_path / "seen", "membership", holdout=str(planted.data), **ALONE)
    (given / "ant").rename(given / "wasp")
    with pytest.raises(ExpungeError, match="other classes"):
        planted.audited(planted.base, tmp_path / "other", "membership", holdout=str(given), **ALONE)


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


def test_the_same_command_reuses_what_it_found_and_limits_stay(planted: PlantedPictures, run: RunFolder) -> None:
    attacks = ("quantize", "prune")
    first = expunge.audit(run.path, attacks=attacks)[1]
    stages = sorted(path.name for path in run.stages.iterdir())
    shutil.rmtree(next(run.stages.glob("audit-prune-control-*")))
    second = expunge.audit(run.path, attacks=attacks)[1]
    assert sorted(path.name for path in run.stages.iterdir()) == stages
    for found in (first, second):
        for each in found["attacks"]:
            each.pop("seconds")
        found.pop("seconds")
    assert first == second
    recipe = run.recipe.read_text()
    run.recipe.write_text(recipe.replace("excess: 0.4", "excess: 0.9"))
    with pytest.raises(ExpungeError, match="limits of this audit were fixed"):
        expunge.audit(run.path, attacks=attacks)


def test_a_budget_leaves_out_what_does_not_fit(planted: PlantedPictures, tmp_path: Path) -> None:
    found = planted.audited(planted.base, tmp_path / "audit", "quantize,relearn", budget=1.0)
    left = {row["name"]: row["why"] for row in found["not_tested"]}
    assert "budget" in left["relearn"]
    assert "not asked for" in left["probe"]
    assert not found["passed"]


def test_report_page_junit_and_verify(
    planted: PlantedPictures, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], drawn: None,
) -> None:  # fmt: skip
    monkeypatch.setattr(Relearning, "ways", (Way("given", 1e-3),))
    junit, untested = tmp_path / "audit.xml", "Whether it comes back when the weights are quantised."
    assert can_be_audited(run)
    assert untested in run.report.read_text(encoding="utf-8")
    command = ["audit", str(run.path), "--attacks", "quantize,relearn", "--control", str(planted.retrained)]
    assert app([*command, "--junit", str(junit)], result_action="return_value") == 3
    assert "Audit: failed" in capsys.readouterr().out
    content = storage.read_json(run.audit / "audit.json")
    assert not can_be_audited(run)
    suite = ElementTree.parse(junit).getroot()
    assert int(suite.attrib["failures"]) == sum(row["passed"] is False for row in content["findings"])
    page = (run.audit / "report.html").read_text(encoding="utf-8")
    worst = content["facts_shown"]["rows"][0]
    assert re.fullmatch(r"picture .+/\d+\.png", worst["prompt"])
    for text in (
        "Audit: failed",
        "<svg",
        f"{content['facts']} pictures",
        "probability that the model gives its true class",
    ):
        assert text in page
    assert "dog<b>" not in page
    assert "dog&lt;b&gt;" in page
    assert "<img" not in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    report = run.report.read_text(encoding="utf-8")
    assert untested not in report
    assert 'id="audit"' in report
    found = {finding.what: finding.ok for finding in verify_run(run)}
    assert found["audit/audit.json is of this model"] is True
    assert found["audit/report.html is what audit/audit.json makes"] is True
    assert False not in found.values(), found


def test_kinds_without_an_audit_say_so(
    planted: PlantedPictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kinds_by_name(), GENERATORS.name, replace(GENERATORS, audit=None))
    recipe = make(GeneratorRecipe, {"data": str(planted.data), "forget": "random:0.1"})
    with pytest.raises(ExpungeError, match="generators are not audited yet") as refused:
        audit(recipe, RunFolder(tmp_path / "run"), Asked())
    assert "image classifiers" in str(refused.value)
