"""The marks and cells of a run in a comparison belong together: one class each, by which the page's style finds them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_run import make_run

from expunge.report.compare import compare_runs
from expunge.report.figures import run_dots
from expunge.report.recoveries import recoveries
from expunge.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("figures_drawn")
EVIL = '<i "x">'


def setting(at: float, known: float, control: float | None, family: str = "LoRA, rate 5e-4") -> dict[str, Any]:
    sides = {"unlearned": [known] * 4, "control": None if control is None else [control] * 4}
    return {"setting": f"{at:g} steps", "family": family, "at": at, "facts": [0, 1, 2, 3], **sides}


def audit(*settings: dict[str, Any], name: str = "relearn") -> dict[str, Any]:
    return {"attacks": [{"name": name, "title": "Relearning", "settings": list(settings)}]}


def marks(figure: str, place: int) -> int:
    return len(re.findall(rf'class="run run{place}"', figure))


def test_a_line_a_run_with_its_control_and_what_is_known_at_the_end() -> None:
    audits = {
        "a": audit(setting(0, 0.0, 0.1), setting(20, 0.75, 0.25)),
        "b": audit(setting(0, 0.0, None), setting(20, 0.5, None)),
        "c": audit(setting(0, 0.0, 0.1)),  # one point is no curve
    }
    (found,) = recoveries(audits, run_dots(["a", "b", "c", EVIL]))
    assert found.title == "Relearning"
    ((family, ends),) = found.rows
    assert family == "LoRA, rate 5e-4"
    assert [(run, known.split()[0], control.split()[0]) for run, known, control in ends] == [
        ("a", "75.0", "25.0"),
        ("b", "50.0", "–"),
    ]
    # band and line; of the first its control, too
    assert [marks(found.figure, place) for place in range(3)] == [3, 2, 0]
    assert found.figure.count('tabindex="0"') == 2
    assert 'aria-label="a"' in found.figure
    assert recoveries({}, run_dots(["a"])) == []


@pytest.fixture
def page(tmp_path: Path) -> str:
    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "two", passed=False)]
    compare_runs(runs, tmp_path / "compare.html")
    return (tmp_path / "compare.html").read_text(encoding="utf-8")


def test_a_page_links_its_runs_without_a_script(page: str) -> None:
    assert "<script" not in page
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    for place in (0, 1):
        assert f"main:has(.run{place}:is(:hover, :focus)) .run:not(.run{place})" in page
        assert re.search(rf'<td dir="auto" class="run run{place}', page)
        assert re.search(rf'<g class="run run{place}"', page)
        assert re.search(rf'tabindex="0" class="run run{place}"', page), "the keyboard reaches it"
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert not re.search(r'id="[^"]*run\d', page), "what marks were known by is gone"


def test_curves_of_an_audit_are_of_the_model_that_was_measured(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("one", "two")]
    for folder, known in zip(runs, (0.2, 0.9), strict=True):
        give_audit(folder, audit(setting(0, 0.0, 0.1), setting(20, known, 0.1)))
    compare_runs(runs, tmp_path / "compare.html")
    text = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "Brought back: Relearning" in text
    assert "90.0" in text.partition("Brought back")[2]
    give_audit(runs[0], audit(setting(0, 0.0, 0.1), setting(20, 0.3, 0.1)), of="another")
    assert list(compare_runs(runs).audits) == ["two"]


def give_audit(folder: RunFolder, found: dict[str, Any], of: str | None = None) -> None:
    """An audit of a run's model, or of another one."""
    record = json.loads(folder.record.read_text(encoding="utf-8"))
    record["digests"]["model"] = {"model.safetensors": "a1"}
    folder.record.write_text(json.dumps(record), encoding="utf-8")
    folder.audit.mkdir(exist_ok=True)
    digests = {"model": {"model.safetensors": of or "a1"}}
    (folder.audit / "audit.json").write_text(json.dumps({"findings": [], "digests": digests, **found}))
