"""What the tests of audits of all kinds of models ask alike."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest
import torch

import expunge
from expunge.auditing import Asked, audit
from expunge.cli.console import can_be_audited
from expunge.core import storage
from expunge.errors import ExpungeError
from expunge.kinds.classifier.attacks.examples import Examples
from expunge.report.verify import verify_run
from expunge.runs.attacking import AnyAttack
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make, read_fields
from expunge.runs.work import KINDS, Work, total
from small_images import pictures

ALONE: dict[str, Any] = {"recipe": {"retrained": "none"}}
"options of an audit without a retrained model"
UNTESTED = "Whether it comes back when the weights are quantised."


class PlantedModels:
    """A folder with pictures in class folders, the models `base`, taught all, and `retrained`, taught the retain set alone,
    and a run."""

    recipe_class: ClassVar[type[Any]]
    data: Path
    base: Path
    run: RunFolder

    def audited(self, model: Path, out: Path, attacks: str, **options: Any) -> dict[str, Any]:
        """The audit of a model on the run's pictures, in a folder of its own."""
        recipe = make(self.recipe_class, read_fields(self.run.recipe), options.pop("recipe", {}))
        asked = Asked(model=str(model), attacks=tuple(attacks.split(",")), **options)
        return audit(recipe, RunFolder(out, known_by="audit/settings.json"), asked)


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in found["findings"]}


def states(found: dict[str, Any]) -> dict[str, bool | None]:
    return {row["name"]: row["passed"] for row in found["findings"]}


def examples(count: int, seed: int) -> Examples:
    made = pictures(count, seed=seed)
    return Examples(made, tuple(f"{seed}/{number}" for number in range(count)))


def check_attack(attack: AnyAttack[Any], side: Callable[[], Any]) -> None:
    """It leaves the model as it was, gives a value between 0 and 1 of every picture that it names, and twice the same."""
    one = side()
    assert attack.missing(one) is None
    pieces = attack.pieces(one)
    assert total(pieces).seconds(Work(**dict.fromkeys(KINDS, 1.0))) > 0
    before = {name: value.clone() for name, value in one.look().model.state_dict().items()}
    trials = list(attack.carry_out(one))
    assert trials
    counts = [piece.trials for piece in pieces]
    if None not in counts:
        assert [piece.words for piece in pieces] == [trial.setting for trial in trials]
    for trial in trials:
        assert len(trial.values) == len(trial.facts) > 0
        assert max(trial.facts) < len(one.asked)
        assert all(0 <= value <= 1 for value in trial.values)
    assert len({trial.setting for trial in trials}) == len(trials)
    after = one.look().model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not one.look().model.training
    torch.manual_seed(5)  # what was drawn elsewhere decides nothing
    assert [trial.row() for trial in attack.carry_out(side())] == [trial.row() for trial in trials]


def check_unseen(planted: PlantedModels, given: Path, folder: Path) -> dict[str, Any]:
    """Pictures may be given as ones that no model saw; those that it did see, or of other classes, are refused."""
    found = planted.audited(planted.base, folder / "audit", "membership", holdout=str(given), **ALONE)
    with pytest.raises(ExpungeError, match="are in the forget set, too"):
        planted.audited(planted.base, folder / "seen", "membership", holdout=str(planted.data), **ALONE)
    (given / "ant").rename(given / "wasp")
    with pytest.raises(ExpungeError, match="other classes"):
        planted.audited(planted.base, folder / "other", "membership", holdout=str(given), **ALONE)
    return found


def check_no_picture_named(planted: PlantedModels, folder: Path) -> None:
    found = planted.audited(planted.base, folder / "audit", "quantize", recipe={"excerpts": False})
    assert found["facts_shown"]["rows"] == []
    assert found["facts_shown"]["beyond"], "how many are known is told"


def check_reused(run: RunFolder, attacks: tuple[str, str]) -> None:
    """The same command computes again what was deleted alone, and limits stay."""
    first = expunge.audit(run.path, attacks=attacks)[1]
    stages = sorted(path.name for path in run.stages.iterdir())
    shutil.rmtree(next(run.stages.glob(f"audit-{attacks[1]}-control-*")))
    second = expunge.audit(run.path, attacks=attacks)[1]
    assert sorted(path.name for path in run.stages.iterdir()) == stages
    for found in (first, second):
        for each in found["attacks"]:
            each.pop("seconds")
        found.pop("seconds")
    assert first == second
    recipe, loosened = re.subn(r"excess: [\d.]+", "excess: 0.9", run.recipe.read_text())
    assert loosened == 1
    run.recipe.write_text(recipe)
    with pytest.raises(ExpungeError, match="limits of this audit were fixed"):
        expunge.audit(run.path, attacks=attacks)


def check_pages(
    run: RunFolder, typed: Callable[..., Any], words: Iterable[object], texts: Iterable[str]
) -> tuple[dict[str, Any], str]:
    """Audit a run as it is typed: the page holds these texts, JUnit XML, the run's report and `verify` know of it.

    Returns what was found, and the page.
    """
    junit = run.path.parent / "audit.xml"
    assert can_be_audited(run)
    assert UNTESTED in run.report.read_text(encoding="utf-8")
    said = typed("audit", run.path, *words, "--junit", junit)
    content = storage.read_json(run.audit / "audit.json")
    assert said.code == (0 if content["passed"] else 3)
    headline = re.search(r"^Audit: [\w ]+", said.out, re.MULTILINE)
    assert headline
    assert not can_be_audited(run)
    suite = ElementTree.parse(junit).getroot()
    assert int(suite.attrib["failures"]) == sum(row["passed"] is False for row in content["findings"])
    page = (run.audit / "report.html").read_text(encoding="utf-8")
    for text in ("<svg", headline[0], f"{content['facts']} pictures", *texts):
        assert text in page
    assert "<img" not in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    report = run.report.read_text(encoding="utf-8")
    assert UNTESTED not in report
    assert 'id="audit"' in report
    found = {finding.what: finding.ok for finding in verify_run(run)}
    assert found["audit/audit.json is of this model"] is True
    assert found["audit/report.html is what audit/audit.json makes"] is True
    assert False not in found.values(), found
    return content, page
