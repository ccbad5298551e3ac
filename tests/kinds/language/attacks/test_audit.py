"""`expunge audit`, from the models to page, JSON and JUnit XML, on planted cases."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet
from xml.etree import ElementTree

import pytest
import torch
from planted import Planted, hide_in_last_layer

import expunge
from expunge.cli import app
from expunge.core import storage
from expunge.errors import ExpungeError
from expunge.kinds.language.attacks.relearning import Relearning, Way
from expunge.kinds.language.audit import LanguageAudit
from expunge.kinds.language.audit_models import AuditModels
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.task import CausalLM
from expunge.runs import attack_plan
from expunge.runs.work import Work
from tiny import load_task

pytestmark = pytest.mark.usefixtures("made_once")
FEW = {"audit.relearning_steps": 20, "audit.facts": 15}
Audited = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def _two_ways_of_relearning_and_short_answers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Relearning, "ways", (Way("given", False, 2e-3), Way("given", True, 5e-3)))
        patch.setattr("expunge.kinds.language.audit.NEW", 8)  # tokens that are shown of what the models say
        yield


def audit(planted: Planted, out: Path, model: Path, attacks: str, **options: Any) -> dict[str, Any]:
    """The audit of a model on the planted sets."""
    _, found = expunge.audit(
        model,
        forget=options.pop("forget", planted.paths["forget"]),
        retain=planted.paths["retain"],
        attacks=tuple(attacks.split(",")),
        **{"base": planted.base, "control": str(planted.retrained), "out": out, **FEW, **options},
    )
    return found


@pytest.fixture
def audited(planted: Planted, tmp_path: Path) -> Audited:
    """Audits a model in this test's folder."""

    def made(model: Path, attacks: str = "quantize,relearn,lens", **options: Any) -> dict[str, Any]:
        return audit(planted, options.pop("out", tmp_path / "audit"), model, attacks, **options)

    return made


class Untouched(NamedTuple):
    """An audit of the base model itself: its folder, what it found, and the model's weights before."""

    out: Path
    found: dict[str, Any]
    before: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def untouched(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Untouched:
    """Made once. Its folder is read only: see `begun`."""
    before = {name: p.clone() for name, p in load_task(planted.base).model.named_parameters()}
    out = tmp_path_factory.mktemp("untouched") / "audit"
    return Untouched(out, audit(planted, out, planted.base, "quantize"), before)


@pytest.fixture
def begun(untouched: Untouched, tmp_path: Path) -> dict[str, Any]:
    """What that audit found, and its folder as this test's own."""
    shutil.copytree(untouched.out, tmp_path / "audit")
    return deepcopy(untouched.found)


def states(found: dict[str, Any]) -> dict[str, bool | None]:
    return {row["name"]: row["passed"] for row in found["findings"]}


def test_an_untouched_model_fails(untouched: Untouched) -> None:
    found = untouched.found
    assert states(found)["as_is"] is False
    assert not found["passed"]
    share = next(row for row in found["findings"] if row["name"] == "as_is")
    assert share["value"] == pytest.approx(1.0, abs=0.02)
    assert len(found["facts_shown"]["beyond"]) == 15


def test_a_retrained_model_passes(planted: Planted, audited: Audited) -> None:
    other = planted.saved("again", planted.folder / "start", planted.rows["retain"], steps=130)
    found = audited(other)
    assert states(found) == dict.fromkeys(states(found), True)
    assert found["passed"]
    assert found["facts_shown"]["beyond"] == []


def test_what_is_hidden_by_the_last_layer_is_found(planted: Planted, audited: Audited) -> None:
    def hide(task: CausalLM) -> None:
        hide_in_last_layer(task, planted.rows["forget"], planted.rows["retain"], nats=4.5)

    found = audited(planted.saved("veneer", planted.base, [], hide), "relearn")
    assert states(found)["as_is"] is True, "without an attack it looks forgotten"
    relearnt = next(row for row in found["findings"] if row["name"] == "relearn")
    assert relearnt["value"] > 1.5 * relearnt["limit"]
    assert relearnt["low"] > 0
    assert relearnt["passed"] is not True
    assert not found["passed"]


def test_a_destroyed_model_fails(planted: Planted, audited: Audited) -> None:
    found = audited(planted.folder / "start", "quantize")
    assert states(found)["as_is"] is True
    assert states(found)["retain_kept"] is False
    assert states(found)["perplexity"] is False
    assert not found["passed"]


def break_it(task: CausalLM) -> None:
    task.model.get_output_embeddings().weight.data.fill_(float("nan"))


def test_a_model_whose_probabilities_are_no_numbers_fails(planted: Planted, audited: Audited) -> None:
    """No attack can be made on it; it is damaged, and does not pass."""
    broken = planted.saved("broken", planted.base, [], break_it)
    found = audited(broken, "quantize,probe,sample,lens,latent")
    assert states(found)["retain_kept"] is False
    assert states(found)["perplexity"] is False
    assert not found["passed"]
    assert found["attacks"] == []
    left = {row["name"]: row["why"] for row in found["not_tested"]}
    for name in ("quantize", "probe", "sample", "lens", "latent"):
        assert left[name].endswith("/broken computes no numbers: NaN or infinite logits on 15 of 15 facts")


def test_a_control_whose_probabilities_are_no_numbers_is_refused(planted: Planted, audited: Audited) -> None:
    broken = planted.saved("broken", planted.base, [], break_it)
    with pytest.raises(ExpungeError, match="broken computes no numbers"):
        audited(planted.base, "quantize", control=str(broken))


def test_a_control_of_other_layers_is_found_before_the_first_attack(planted: Planted, audited: Audited) -> None:
    def cut(task: CausalLM) -> None:
        del task.model.model.layers[1]
        task.model.config.num_hidden_layers = 1
        task.model.config.layer_types = None

    cut_short = planted.saved("cut", planted.retrained, [], cut)
    found = audited(planted.base, "quantize,lens,patch,interpolate,latent", control=str(cut_short))
    left = {row["name"]: row["why"] for row in found["not_tested"]}
    assert [attack["name"] for attack in found["attacks"]] == ["quantize"]
    assert left["lens"] == "the models have different numbers of layers: the unlearned model 2, the control 1"
    assert "num_hidden_layers 1, not 2" in left["interpolate"]


def test_a_model_of_one_layer(planted: Planted, audited: Audited) -> None:
    def cut(task: CausalLM) -> None:
        del task.model.model.layers[1]
        task.model.config.num_hidden_layers = 1
        task.model.config.layer_types = None

    alone = planted.saved("alone", planted.base, [], cut)
    found = audited(alone, "lens,patch,probe,latent", control=str(alone), base=alone, **{"audit.facts": 16})
    left = {row["name"]: row["why"] for row in found["not_tested"]}
    assert left["lens"] == left["patch"] == "left out: the model has one layer"
    assert [attack["name"] for attack in found["attacks"]] == ["latent"]


def test_ordinary_text_is_the_retain_set_or_what_is_given(
    planted: Planted, untouched: Untouched, audited: Audited
) -> None:
    found = untouched.found
    assert found["ordinary"] == "the retain set, since no other ordinary text was given"
    assert found["model"] == f"{planted.folder.name}/base"
    page = (untouched.out / "audit" / "report.html").read_text(encoding="utf-8")
    assert 'of <span dir="auto">the retain set' in page
    assert str(planted.folder) not in page
    other = audited(planted.base, "quantize", ordinary=planted.paths["holdout"])
    assert other["ordinary"] == "holdout.jsonl"
    assert other["damage"]["perplexity"]["n"] == 15
    assert other["sets"]["ordinary set"] != found["sets"]["ordinary set"]


def test_other_questions_find_what_is_known_and_are_left_out_where_the_base_cannot_answer(
    planted: Planted, audited: Audited
) -> None:
    found = audited(planted.base, "cloze,reversed,choice")
    left = {row["name"]: row["why"] for row in found["not_tested"]}
    assert states(found)["cloze"] is False, "an untouched model fills the gaps"
    share = next(row for row in found["findings"] if row["name"] == "cloze")
    assert share["value"] == pytest.approx(1.0, abs=0.01)
    assert left["choice"] == "the base model answers it no better than the control", "it knows no letters"


def test_one_model_is_held_at_a_time(
    planted: Planted, audited: Audited, monkeypatch: pytest.MonkeyPatch, made_anew: None
) -> None:
    """The base beside it where an attack needs both; never three."""
    alive: WeakSet[CausalLM] = WeakSet()
    most, look = [0], AuditModels.beside

    def watched(model: LazyModel) -> CausalLM:
        task = look(model)
        alive.add(task)
        most[0] = max(most[0], len(alive))
        return task

    monkeypatch.setattr(AuditModels, "beside", staticmethod(watched))
    holdout = str(planted.paths["holdout"])
    audited(planted.base, "patch,membership", holdout=holdout)
    assert most[0] == 2


def test_a_model_of_another_vocabulary_is_refused(planted: Planted, audited: Audited, tmp_path: Path) -> None:
    other = shutil.copytree(planted.base, tmp_path / "other")
    tokenizer = load_task(other).tokenizer
    tokenizer.add_tokens(["Holmes"])
    tokenizer.save_pretrained(other)
    with pytest.raises(ExpungeError, match="another vocabulary"):
        audited(other, "quantize")


def test_a_holdout_is_a_control(planted: Planted, audited: Audited) -> None:
    holdout = str(planted.paths["holdout"])
    untouched = audited(planted.base, "quantize,membership", control=None, holdout=holdout)
    assert untouched["control"]["kind"] == "holdout"
    assert states(untouched)["as_is"] is False
    assert states(untouched)["membership"] is False
    (membership,) = (each for each in untouched["attacks"] if each["name"] == "membership")
    assert all(set(each["control"]) == {0.5} for each in membership["settings"]), "texts beside themselves"
    assert untouched["facts_shown"]["beyond"] is None, "facts of the holdout are others"


def test_names_that_were_replaced_are_a_control(planted: Planted, audited: Audited) -> None:
    found = audited(planted.base, "quantize", control=None)
    assert found["control"]["kind"] == "names"
    assert states(found)["as_is"] is False


def test_the_same_command_reuses_what_it_found_and_limits_stay(
    planted: Planted, begun: dict[str, Any], audited: Audited, tmp_path: Path, made_anew: None
) -> None:
    stages = sorted(path.name for path in (tmp_path / "audit" / "stages").iterdir())
    shutil.rmtree(next((tmp_path / "audit" / "stages").glob("audit-quantize-control-*")))
    second = audited(planted.base, "quantize")
    assert sorted(path.name for path in (tmp_path / "audit" / "stages").iterdir()) == stages
    for found in (begun, second):
        for each in found["attacks"]:
            each.pop("seconds")
        found.pop("seconds")
    assert begun == second
    with pytest.raises(ExpungeError, match="limits of this audit were fixed") as refused:
        audited(planted.base, "quantize", **{"audit.excess": 0.9})
    assert "excess" in str(refused.value)


def test_a_budget_leaves_out_what_does_not_fit_and_says_so(
    planted: Planted, audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LanguageAudit, "measured", lambda self, work: Work(trained=1e3 if work.trained else 0.0))
    found = audited(planted.base, "quantize,relearn", budget="1h")
    left = {row["name"]: row["why"] for row in found["not_tested"]}
    assert "budget" in left["relearn"]
    assert "not requested" in left["lens"]
    assert "relearn" not in states(found)


def test_a_budget_without_room_for_any_attack_is_refused_at_once(
    planted: Planted, audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose models take 100 s each to load: more than a minute before anything is asked."""
    monkeypatch.setattr(LanguageAudit, "measured", lambda self, work: Work(loaded=100.0 if work.loaded else 0.0))
    with pytest.raises(ExpungeError, match="a budget of 60 s has room for no attack") as caught:
        audited(planted.base, "quantize,relearn", budget="60s")
    needed = re.fullmatch(r"about (\d+) s for a first attack, (\d+) s for all requested ones", caught.value.allowed)
    assert needed is not None
    one, whole = map(int, needed.groups())
    assert 300 < one < whole
    assert f"--budget {-(-one * 125 // 6000)}m" in str(caught.value.next_step)
    assert not list((tmp_path / "audit").rglob("known-*"))
    assert not (tmp_path / "audit" / "audit").exists(), "no limits are fixed"


def test_where_asking_takes_too_long_a_sample_is_asked_for_and_stays(
    planted: Planted, audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack_plan, "FIXED", 0.0)
    monkeypatch.setattr(attack_plan, "LEAST", 8)
    found = audited(planted.base, "noise", budget="1h")
    assert (found["facts"], found["facts_wanted"], found["held_back"]) == (8, 15, 4)
    assert {len(values) for values in found["known"].values()} == {8}
    assert [attack["name"] for attack in found["attacks"]] == ["noise"], "measured here, and there was time"
    page = (tmp_path / "audit" / "audit" / "report.html").read_text(encoding="utf-8")
    assert "The audit used 8 facts" in page
    assert "They are a sample of the 15 that the recipe asks for" in page
    again = audited(planted.base, "noise")
    assert again["known"] == found["known"]
    assert again["attacks"][0]["settings"] == found["attacks"][0]["settings"]


def test_an_audit_that_made_no_attack_does_not_pass(planted: Planted, audited: Audited) -> None:
    found = audited(planted.retrained, "membership")
    assert found["attacks"] == [], "no texts are given that no model saw"
    assert set(states(found).values()) == {True}
    assert not found["passed"]


def test_without_a_retrained_model_what_the_base_recites_is_no_evidence(planted: Planted, audited: Audited) -> None:
    holdout = str(planted.paths["holdout"])
    found = audited(planted.retrained, "patch,interpolate,membership", control=None, holdout=holdout)
    left = {row["name"]: row["why"] for row in found["not_tested"]}
    assert "retrained" in left["patch"]
    assert "retrained" in left["interpolate"]
    (membership,) = (attack for attack in found["attacks"] if attack["name"] == "membership")
    assert "reference" not in {setting["setting"] for setting in membership["settings"]}


def test_page_json_and_junit(
    planted: Planted, audited: Audited, tmp_path: Path, capsys: pytest.CaptureFixture[str], drawn: None
) -> None:
    junit, out = tmp_path / "audit.xml", tmp_path / "told"
    command = ["audit", str(planted.base), "--base", str(planted.base), "--forget", str(planted.paths["forget"])]
    command += ["--retain", str(planted.paths["retain"]), "--control", str(planted.retrained), "--out", str(out)]
    command += ["--attacks", "quantize,relearn", "--junit", str(junit)]
    command += [word for name, value in FEW.items() for word in (f"--{name}", str(value))]
    assert app(command, result_action="return_value") == 3
    told = capsys.readouterr().out
    assert "FAILED" in told
    assert "Audit: failed" in told
    assert app([*command, "--json"], result_action="return_value") == 3
    content = json.loads(capsys.readouterr().out)
    assert content == storage.read_json(out / "audit" / "audit.json")
    suite = ElementTree.parse(junit).getroot()
    assert int(suite.attrib["failures"]) == sum(row["passed"] is False for row in content["findings"])
    assert int(suite.attrib["tests"]) == len(content["findings"]) + len(content["not_tested"])
    page = (out / "audit" / "report.html").read_text(encoding="utf-8")
    assert "Audit: failed" in page
    assert "<svg" in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert content["settings_digest"][:16] in page


def test_attacks_add_up(planted: Planted, begun: dict[str, Any], audited: Audited) -> None:
    """A second audit with other attacks does not take away what the first one found."""
    second = audited(planted.base, "noise")
    assert [each["name"] for each in second["attacks"]] == ["quantize", "noise"]
    assert second["attacks"][0] == begun["attacks"][0]
    assert {"quantize", "noise"} <= set(states(second))


def test_a_folder_holds_one_audit(planted: Planted, begun: dict[str, Any], audited: Audited, tmp_path: Path) -> None:
    with pytest.raises(ExpungeError, match="audit of another model") as refused:
        audited(planted.retrained, "quantize")
    assert "another subject" in str(refused.value)
    with pytest.raises(ExpungeError, match=r"differ in excess"):
        audited(planted.base, "quantize", **{"audit.excess": 2.0})
    shutil.rmtree(tmp_path / "audit" / "audit")
    loosened = audited(planted.base, "quantize", **{"audit.excess": 2.0})
    assert len(loosened["earlier_limits"]) == 1, "limits that were deleted once results were seen"
    page = (tmp_path / "audit" / "audit" / "report.html").read_text(encoding="utf-8")
    assert "Other limits were fixed in this folder before" in page


def test_what_is_wrong_is_refused_in_a_sentence(planted: Planted, audited: Audited, tmp_path: Path) -> None:
    with pytest.raises(ExpungeError, match="there is no attack 'quantise'") as refused:
        audited(planted.base, "quantise")
    assert "quantize" in str(refused.value)
    with pytest.raises(ExpungeError, match="not a run folder"):
        expunge.audit(planted.base)
    with pytest.raises(ExpungeError, match="is not a time"):
        audited(planted.base, "quantize", budget="later")
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(planted.paths["forget"].read_text().splitlines()[:2]))
    with pytest.raises(ExpungeError, match="too few facts"):
        audited(planted.base, "quantize", holdout=str(few))


def test_an_answer_cannot_put_markup_into_the_page(planted: Planted, audited: Audited, tmp_path: Path) -> None:
    lines = planted.paths["forget"].read_text().splitlines()
    lines[-1] = json.dumps({"question": "<script>alert(1)</script>", "answer": "<img src=x onerror=alert(2)>"})
    evil = tmp_path / "evil.jsonl"
    evil.write_text("\n".join(lines))
    audited(planted.base, "quantize", forget=evil, out=tmp_path / "evil")
    page = (tmp_path / "evil" / "audit" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<img" not in page


def test_a_model_is_left_as_it_was(planted: Planted, untouched: Untouched) -> None:
    before = untouched.before
    assert all((before[name] == p).all() for name, p in load_task(planted.base).model.named_parameters())
