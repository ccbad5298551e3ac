"""`expunge audit` of generators, from the models to page and JUnit XML, on planted cases."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from planted_generators import PlantedGenerators, small_generator, teach, write_painted

import expunge
from expunge.cli import app
from expunge.cli.console import can_be_audited
from expunge.core import storage
from expunge.errors import ExpungeError
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder

ALONE: dict[str, Any] = {"recipe": {"retrained": "none"}}


@pytest.fixture
def run(planted: PlantedGenerators, tmp_path: Path) -> RunFolder:
    """A copy of the planted run."""
    return RunFolder(shutil.copytree(planted.run.path, tmp_path / "run"))


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in found["findings"]}


def states(found: dict[str, Any]) -> dict[str, bool | None]:
    return {row["name"]: row["passed"] for row in found["findings"]}


def test_an_untouched_generator_fails(planted: PlantedGenerators, tmp_path: Path) -> None:
    found = planted.audited(planted.base, tmp_path / "audit", "quantize,group,corruption,membership")
    assert found["control"]["kind"] == "retrained"
    assert found["model"] == f"{planted.folder.name}/base", "no path of this machine"
    rows = by_name(found)
    assert {name: rows[name]["passed"] for name in ("as_is", "quantize", "group", "corruption")} == dict.fromkeys(
        ("as_is", "quantize", "group", "corruption"), False
    )
    assert rows["as_is"]["value"] == pytest.approx(1.0, abs=0.02)
    assert rows["retain_kept"]["passed"]
    assert rows["test_kept"]["passed"]
    assert rows["membership"]["n"] == found["facts"]
    assert not found["passed"]
    assert len(found["facts_shown"]["beyond"]) > 20


def test_a_retrained_generator_passes(planted: PlantedGenerators, tmp_path: Path) -> None:
    again = planted.saved("again", teach(small_generator(2), planted.sets.tensors["retain"]))
    found = planted.audited(again, tmp_path / "audit", "quantize,relearn_retain,membership")
    assert states(found) == dict.fromkeys(states(found), True)
    assert found["passed"]
    assert found["facts_shown"]["beyond"] == []


def test_random_weights_fail_for_their_damage(planted: PlantedGenerators, tmp_path: Path) -> None:
    found = planted.audited(planted.saved("random", small_generator(3)), tmp_path / "random", "quantize")
    assert states(found)["as_is"] is True, "nothing is drawn of what was to go"
    assert states(found)["retain_kept"] is False
    assert states(found)["test_kept"] is False
    assert not found["passed"]


def test_of_a_group_held_back_pictures_are_no_control(planted: PlantedGenerators, tmp_path: Path) -> None:
    found = planted.audited(planted.base, tmp_path / "audit", "membership", **ALONE)
    assert found["control"] is None
    assert states(found)["as_is"] is None
    assert not found["passed"]
    assert [each["name"] for each in found["attacks"]] == ["membership"], "held-back pictures of the group are there"


def test_of_a_random_part_held_back_pictures_are(planted: PlantedGenerators, tmp_path: Path) -> None:
    options = {"recipe": {"retrained": "none", "forget": "random:40"}}
    found = planted.audited(planted.base, tmp_path / "audit", "quantize,group", **options)
    assert found["control"]["kind"] == "holdout"
    assert not found["paired"]
    assert "no group" in {row["name"]: row["why"] for row in found["not_tested"]}["group"]


def test_unseen_pictures_may_be_given_and_are_looked_at(planted: PlantedGenerators, tmp_path: Path) -> None:
    given = write_painted(tmp_path / "given", 60, 9)
    found = planted.audited(planted.base, tmp_path / "audit", "membership", holdout=str(given), **ALONE)
    assert found["control"]["kind"] == "holdout"
    with pytest.raises(ExpungeError, match="are in the forget set, too"):
        planted.audited(planted.base, tmp_path / "seen", "membership", holdout=str(planted.data), **ALONE)
    (given / "ant").rename(given / "wasp")
    with pytest.raises(ExpungeError, match="other classes"):
        planted.audited(planted.base, tmp_path / "other", "membership", holdout=str(given), **ALONE)


def test_the_same_command_reuses_what_it_found_and_limits_stay(run: RunFolder) -> None:
    attacks = ("quantize", "input")
    first = expunge.audit(run.path, attacks=attacks)[1]
    stages = sorted(path.name for path in run.stages.iterdir())
    shutil.rmtree(next(run.stages.glob("audit-input-control-*")))
    second = expunge.audit(run.path, attacks=attacks)[1]
    assert sorted(path.name for path in run.stages.iterdir()) == stages
    for found in (first, second):
        for each in found["attacks"]:
            each.pop("seconds")
        found.pop("seconds")
    assert first == second
    recipe = run.recipe.read_text()
    run.recipe.write_text(recipe.replace("excess: 0.25", "excess: 0.9"))
    with pytest.raises(ExpungeError, match="limits of this audit were fixed"):
        expunge.audit(run.path, attacks=attacks)


def test_report_page_junit_and_verify(
    planted: PlantedGenerators, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junit, untested = tmp_path / "audit.xml", "Whether it comes back when the weights are quantised."
    assert can_be_audited(run)
    assert untested in run.report.read_text(encoding="utf-8")
    command = ["audit", str(run.path), "--attacks", "quantize,group", "--control", str(planted.retrained)]
    code = app([*command, "--junit", str(junit)], result_action="return_value")
    content = storage.read_json(run.audit / "audit.json")
    assert code == (0 if content["passed"] else 3)
    assert "Audit: " in capsys.readouterr().out
    assert not can_be_audited(run)
    suite = ElementTree.parse(junit).getroot()
    assert int(suite.attrib["failures"]) == sum(row["passed"] is False for row in content["findings"])
    page = (run.audit / "report.html").read_text(encoding="utf-8")
    for text in ("<svg", f"{content['facts']} pictures", "is drawn", "The group drawn again", "% of it drawn"):
        assert text in page
    assert re.search(r"picture ant/0-\d+\.png", page)
    assert "<img" not in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    report = run.report.read_text(encoding="utf-8")
    assert untested not in report
    assert 'id="audit"' in report
    found = {finding.what: finding.ok for finding in verify_run(run)}
    assert found["audit/audit.json is of this model"] is True
    assert found["audit/report.html is what audit/audit.json makes"] is True
    assert False not in found.values(), found
    content["attacks"][0]["settings"][0]["unlearned"][0] += 0.5
    storage.write_json(run.audit / "audit.json", content)
    assert False in {finding.ok for finding in verify_run(run)}
