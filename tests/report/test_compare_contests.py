"""Contests side by side: one line a method, whatever took part where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_contest import known, make_contest, row
from fake_run import make_run
from test_render import EVIL, Page, words

from expunge.errors import RunError
from expunge.runs.folder import RunFolder
from expunge.suites.challenge.compare import compare_contests
from said import Type

FEW = [0.4] * 15


def changed(folder: RunFolder, *rows: dict[str, object], **fields: object) -> RunFolder:
    path = folder.path / "contest.json"
    figures = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(figures | {"methods": list(rows), "diverged": []} | fields), encoding="utf-8")
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[RunFolder]:
    one, other = (make_contest(tmp_path / name) for name in ("first", "second"))
    kept = {"settings": {"method": {"name": "kept"}, "unlearning": {}}}
    changed(
        one,
        row("low", FEW, 0, share_of_ceiling=known(0.4)),
        row("kept", FEW, 0, share_of_ceiling=known(0.9), **kept),
        row("alone", FEW, 0),
        row("dear", FEW, 0),
    )
    changed(
        other,
        row("kept", FEW, 0, share_of_ceiling=known(0.7), retain_ratio=known(0.931), **kept),
        row("low", FEW, 3, share_of_ceiling=known(0.5)),
        row("dear", FEW, 0, over_budget=True),
        diverged=[{"name": "alone", "models": 2, "reason": "no number", "settings": {}}],
    )
    return [one, other]


def test_methods_over_all_forget_sets(two: list[RunFolder]) -> None:
    found = compare_contests(two)
    assert found.names == ("first", "second")
    lines = {line.name: line for line in found.methods}
    assert [line.name for line in found.methods][:2] == ["kept", "low"], "best mean first"
    assert lines["kept"].mean == pytest.approx(0.8)
    assert lines["kept"].lowest == (0.931, 1.0)
    assert lines["kept"].same_settings
    assert not lines["low"].same_settings
    assert lines["dear"].mean is None, "over budget in one of them"
    assert lines["alone"].mean is None
    text = str(found)
    kept = next(line for line in text.splitlines() if line.startswith("kept"))
    assert "0.90 [0.88, 0.92], 1.000, 1.000" in kept
    assert kept.split()[-3:] == ["0.80", "0.931", "1.000"]
    assert "(over budget)" in next(line for line in text.splitlines() if line.startswith("dear"))
    assert "diverged" in next(line for line in text.splitlines() if line.startswith("alone"))
    assert "low took part with other settings." in text
    assert "random:0.02" in text


def test_the_page_is_sound_and_escaped(two: list[RunFolder], tmp_path: Path) -> None:
    changed(two[1], row(EVIL, FEW, 0))
    compare_contests(two, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert "2 contests side by side" in words(html)
    assert "did not take part" in words(html)


def test_what_cannot_be_compared(two: list[RunFolder], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="two contests or more"):
        compare_contests(two[:1])
    with pytest.raises(RunError, match="runs and contests cannot be compared"):
        compare_contests([two[0], make_run(tmp_path / "run")])
    (two[1].path / "contest.json").unlink()
    with pytest.raises(RunError, match=r"second has no contest\.json: the contest has not ended"):
        compare_contests(two)


def test_as_it_is_typed(two: list[RunFolder], typed: Type) -> None:
    code, out, _ = typed("compare", *(folder.path for folder in two))
    assert code == 0
    assert "F / ceiling" in out
