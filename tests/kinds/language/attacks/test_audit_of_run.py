"""The audit of a run: its report, `expunge verify`, and what it says before there was one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from planted import Planted

import expunge
from expunge.cli.console import can_be_audited
from expunge.core import storage
from expunge.errors import ExpungeError
from expunge.kinds.language.recipe import make_recipe
from expunge.report.render import render_report
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder


@pytest.fixture(scope="module")
def finished(planted: Planted) -> RunFolder:
    """A finished run on a planted model."""
    content = {
        "model": str(planted.base),
        "forget": str(planted.paths["forget"]),
        "retain": str(planted.paths["retain"]),
        "retrained": str(planted.retrained),
        "method": {"name": "npo"},
        "data": {"retain_answers": 0, "block_size": 64},
        "training": {"max_steps": 4, "probe_steps": 2, "learning_rate": 1e-3},
        "evaluation": {"ordinary_text": str(planted.paths["retain"]), "familiarity": False, "max_blocks": 4},
        "audit": {"facts": 15, "relearning_steps": 4},
    }
    return expunge.run(make_recipe(content, {}), planted.folder / "run")


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of it."""
    return RunFolder(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.fixture(scope="module")
def audited(finished: RunFolder) -> tuple[RunFolder, dict[str, Any]]:
    """A copy that was audited, and what was found. Read only."""
    copied = shutil.copytree(finished.path, finished.path.parent / "audited" / "run")
    folder, found = expunge.audit(copied, attacks=("quantize",))
    assert folder.path == copied
    return folder, found


@pytest.fixture
def audited_run(audited: tuple[RunFolder, dict[str, Any]], tmp_path: Path) -> RunFolder:
    """A copy of that."""
    return RunFolder(shutil.copytree(audited[0].path, tmp_path / "audited" / "run"))


def page(run: RunFolder) -> str:
    render_report(run)
    return run.report.read_text(encoding="utf-8")


def judged(run: RunFolder, passed: bool) -> None:
    """Write a verdict into the record."""
    record = storage.read_json(run.record)
    record["verdict"] = {"passed": passed, "checks": [{**record["verdict"]["checks"][0], "passed": passed}]}
    storage.write_json(run.record, record)


def test_a_passed_verdict_says_that_it_was_not_audited(run: RunFolder) -> None:
    judged(run, True)
    assert "Passed, not audited" in page(run)
    assert can_be_audited(run)
    judged(run, False)
    assert "not audited" not in page(run)


def test_after_an_audit_both_verdicts_stand_on_the_first_page(
    run: RunFolder, audited: tuple[RunFolder, dict[str, Any]], audited_run: RunFolder
) -> None:
    untested = "Whether it comes back when the weights are quantised."
    assert untested in page(run)
    run, found = audited_run, audited[1]
    assert not can_be_audited(run)
    assert found["control"]["kind"] == "retrained", "the recipe's"
    judged(run, True)
    text = page(run)
    assert "not audited" not in text
    assert text.index("Passed") < text.index("Audit: failed") < text.index("<nav")
    assert untested not in text
    assert "Whether the forgotten can be brought back by training" in text
    assert "audit" not in (run.model / "README.md").read_text()


def test_verify_knows_an_audit(finished: RunFolder, audited_run: RunFolder) -> None:
    def findings(run: RunFolder = audited_run) -> dict[str, bool | None]:
        return {finding.what: finding.ok for finding in verify_run(run) if "audit" in finding.what}

    run = audited_run
    assert findings(finished) == {}
    assert findings() == {
        "audit/audit.json is of this model": True,
        "the audit's limits are those that were fixed before it": True,
        "the audit's verdict follows from its values": True,
        "audit/report.html is what audit/audit.json makes": True,
    }
    assert all(finding.ok is not False for finding in verify_run(run)), "the run's report, too, is what the files make"
    path = run.audit / "audit.json"
    content: dict[str, Any] = storage.read_json(path)
    wrong = "the audit's verdict does not follow from its values"
    storage.write_json(path, content | {"passed": True})
    assert findings()[wrong] is False
    told = [row | {"passed": True} for row in content["findings"]]
    storage.write_json(path, content | {"passed": True, "findings": told})
    assert findings()[wrong] is False, "findings that were changed to fit"
    for setting in content["attacks"][0]["settings"]:  # any of them may be the worst, which is judged
        setting["unlearned"][0] += 0.01
    storage.write_json(path, content)
    assert findings()[wrong] is False, "a value that was changed"
    storage.write_json(path, content | {"settings": content["settings"] | {"excess": 0.9}})
    assert findings()["the audit's limits are not those that were fixed before it"] is False
    path.write_text("{}")
    assert findings()["audit/: an unfinished audit"] is None


def test_an_audit_of_another_model_is_not_shown(audited_run: RunFolder) -> None:
    run = audited_run
    record = storage.read_json(run.record)
    weights = next(name for name in record["digests"]["model"] if name.endswith(".safetensors"))
    record["digests"]["model"][weights] = "0" * 64
    storage.write_json(run.record, record)
    assert 'id="audit"' not in page(run)


def test_data_of_a_run_are_its_recipes(run: RunFolder) -> None:
    with pytest.raises(ExpungeError, match="is a run folder"):
        expunge.audit(run.path, forget="other.txt")
    shutil.rmtree(run.model)
    with pytest.raises(ExpungeError, match="no unlearned model"):
        expunge.audit(run.path)
