"""`expunge audit` of generators, from the models to page and JUnit XML, on planted cases."""

from __future__ import annotations

import re
import shutil
import time
from functools import partial
from pathlib import Path

import pytest
from planted_generators import PlantedGenerators, small_generator, teach, write_painted

from audit_checks import ALONE, by_name, check_no_picture_named, check_pages, check_reused, check_unseen, states
from expunge import auditing
from expunge.core import storage
from expunge.kinds.generator.audit import GeneratorAuditing, make_audit
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.report.verify import verify_run
from expunge.runs import attack_plan
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make, read_fields
from expunge.runs.work import KINDS, Budget, Work, total
from expunge.spine import at_work
from said import Type


@pytest.fixture
def run(planted: PlantedGenerators, tmp_path: Path) -> RunFolder:
    """A copy of the planted run."""
    return RunFolder(shutil.copytree(planted.run.path, tmp_path / "run"))


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
    assert "not a group" in {row["name"]: row["why"] for row in found["not_tested"]}["group"]


def test_unseen_pictures_may_be_given_and_are_looked_at(planted: PlantedGenerators, tmp_path: Path) -> None:
    found = check_unseen(planted, write_painted(tmp_path / "given", 60, 9), tmp_path)
    assert found["control"]["kind"] == "holdout"


def test_a_budget_stops_an_attack_between_two_settings_and_names_the_rest(
    planted: PlantedGenerators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 640 s a step of 64 pictures, pieces of 1, 1, 3 and 5 steps in each of four ways, on two sides: the third one and
    the three of the control take 5120 s, the fourth one and the four of the control 9600 s."""
    monkeypatch.setattr(GeneratorAuditing, "measured", lambda self, work: Work(trained=10.0 if work.trained else 0.0))
    found = planted.audited(planted.base, tmp_path / "audit", "quantize,relearn", budget=6000.0)
    made = {each["name"]: each for each in found["attacks"]}
    assert set(made) == {"quantize", "relearn"}
    left = {row["name"]: row for row in found["not_tested"] if "not requested" not in row["why"]}
    assert list(left) == ["relearn"]
    assert left["relearn"]["in_part"]
    assert left["relearn"]["why"].startswith("the budget was spent before it: ")
    named = left["relearn"]["why"].partition(": ")[2].split("; ")
    settings = [each["setting"] for each in made["relearn"]["settings"]]
    assert (len(settings), len(named)) == (3, 13)
    assert not set(settings) & set(named)
    assert found["short"]
    assert not found["passed"]


def test_a_budget_is_kept_on_this_machine(
    planted: PlantedGenerators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock of this thread: what else the machine does is no fault of the audit."""
    monkeypatch.setattr(auditing, "Budget", partial(Budget, now=time.thread_time))
    attacks = "quantize,relearn,relearn_retain,group"
    found = planted.audited(planted.base, tmp_path / "audit", attacks, budget=5.0, begun=time.thread_time())
    assert found["seconds"] < 13, "models are read and pages written whatever the budget is"
    made, left = ({row["name"] for row in found[name]} for name in ("attacks", "not_tested"))
    assert {"quantize", "relearn", "relearn_retain", "group"} <= made | left


def test_the_network_that_knows_the_group_is_trained_in_the_budget_alone(
    planted: PlantedGenerators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six passes over all pictures that are trained on, whole and with the drawn patches alone, at 10 s each."""
    monkeypatch.setattr(GeneratorAuditing, "measured", lambda self, work: Work(fitted=10.0 if work.fitted else 0.0))
    found = planted.audited(planted.base, tmp_path / "audit", "quantize,group", budget=6000.0)
    left = {row["name"]: row["why"] for row in found["not_tested"]}
    seconds = 6 * 2 * 10 * sum(len(planted.sets.tensors[name]) for name in ("retain", "forget"))
    assert left["group"] == f"the budget is too small: it takes about {seconds} s"
    assert [each["name"] for each in found["attacks"]] == ["quantize"]
    assert not list((tmp_path / "audit").rglob("fitted-network-*"))


def test_where_asking_takes_too_long_a_sample_is_asked_for_and_stays(
    planted: PlantedGenerators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack_plan, "FIXED", 0.0)
    found = planted.audited(planted.base, tmp_path / "audit", "quantize", budget=3600.0)
    assert found["facts"] == attack_plan.LEAST < found["facts_wanted"]
    assert {len(values) for values in found["known"].values()} == {found["facts"]}
    assert [each["name"] for each in found["attacks"]] == ["quantize"], "measured here, and there was time"
    again = planted.audited(planted.base, tmp_path / "audit", "quantize")
    assert again["known"] == found["known"]
    assert again["attacks"][0]["settings"] == found["attacks"][0]["settings"]


def test_every_attack_declares_work_that_is_timed_here(planted: PlantedGenerators, tmp_path: Path) -> None:
    recipe = make(GeneratorRecipe, read_fields(planted.run.recipe))
    folder = RunFolder(tmp_path / "audit", known_by="audit/settings.json")
    with at_work(recipe, folder, None, "") as (_, story):
        at_audit = make_audit(story, str(planted.base), None, None)
        every = [attack for attack, missing in at_audit.attacks() if missing is None]
        assert [attack.name for attack in every] == at_audit.names(), "a control is there, and the group is known"
        for attack in every:
            pieces = at_audit.pieces(attack)
            rates = at_audit.measured(total(pieces))
            assert total(pieces).seconds(rates) > 0
            assert [piece.work.fitted > 0 for piece in pieces] == [
                attack.name == "group" and number == 0 for number in range(len(pieces))
            ], "the measuring network is trained once, before the first answer"
            held_back = [len(side.asked.held_back) for _, side in at_audit.sides(attack)]
            looked_at = 2 * sum(held_back) if attack.name == "group" else 0
            assert {piece.work.judged for piece in pieces} == {looked_at}, (
                "each of what is drawn, under both corruptions"
            )
            kinds = [name for name in KINDS if getattr(total(pieces), name)]
            assert all(getattr(rates, name) > 0 for name in kinds), f"{attack.name}: every kind of its work is timed"


def test_without_excerpts_no_picture_is_named(planted: PlantedGenerators, tmp_path: Path) -> None:
    check_no_picture_named(planted, tmp_path)


def test_the_same_command_reuses_what_it_found_and_limits_stay(run: RunFolder) -> None:
    check_reused(run, ("quantize", "input"))


def test_report_page_junit_and_verify(planted: PlantedGenerators, run: RunFolder, typed: Type) -> None:
    words = ["--attacks", "quantize,group", "--control", planted.retrained]
    content, page = check_pages(run, typed, words, ["is drawn", "The group drawn again", "% of it drawn"])
    assert re.search(r"picture ant/0-\d+\.png", page)
    content["attacks"][0]["settings"][0]["unlearned"][0] += 0.5
    storage.write_json(run.audit / "audit.json", content)
    assert False in {finding.ok for finding in verify_run(run)}
