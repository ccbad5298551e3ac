"""The tables of contests in the docs are made from the contests' own figures."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PLACE = Path(__file__).parents[2] / "benchmarks/challenge/table.py"


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("contest_table", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def row(name: str, share: float | None, retain: float, test: float = 1.0, over: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "over_budget": over,
        "score": estimate(0.1),
        "forgetting": estimate(0.15),
        "share_of_ceiling": None if share is None else estimate(share),
        "retain_ratio": estimate(retain),
        "test_ratio": estimate(test),
        "compute_share": 0.19,
    }


def contest(*rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "ceiling": row("retrained again", None, 1.0),
        "methods": list(rows),
        "diverged": [{"name": "wild", "models": 1, "reason": "no number"}],
        "data": {"retain": {"pictures": 900}, "forget": {"pictures": 20}},
        "models": 32,
        "examples": 20,
    }


def test_what_is_reached_is_reached_in_every_contest(table: ModuleType) -> None:
    first = contest(row("good", 0.9, 0.98), row("dull", 0.95, 0.9), row("late", 0.9, 1, over=True), row("once", 1, 1))
    second = contest(row("dull", 0.9, 0.99), row("good", 0.81, 0.97, 1.05), row("late", 0.9, 1))
    lines = table.contests({"a": first, "b": second}).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == ["dull", "good"]
    assert lines[2].endswith("| 0.900 | 1.000 | no |")
    assert lines[3].endswith("| 0.90 [0.80, 1.00] | 0.81 [0.71, 0.91] | 0.970 | 1.000 | yes |")


@pytest.mark.usefixtures("drawn")
def test_a_page_is_filled_between_its_marks(table: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, page = tmp_path / "challenge", tmp_path / "docs" / "results.md"
    run.mkdir()
    page.parent.mkdir()
    (run / "contest.json").write_text(json.dumps(contest(row("good", 0.9, 0.98))))
    marks = (
        "<!-- plot -->\nold\n<!-- end of plot -->\n<!-- contest: challenge -->\nold\n<!-- end of contest: challenge -->"
    )
    page.write_text(f"before\n{marks}\nafter\n")
    picture = tmp_path / "docs" / "plot.svg"
    monkeypatch.setattr(sys, "argv", ["table.py", str(run), "--into", str(page), "--plot", str(picture)])
    table.main()
    once = page.read_text()
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "| good | 0.100 | 0.150 [0.050, 0.250] | 0.90 [0.80, 1.00] |" in once
    assert "| wild | diverged |" in once
    assert "](plot.svg)" in once
    drawn = picture.read_bytes()
    table.main()
    assert page.read_text() == once
    assert picture.read_bytes() == drawn


def test_a_page_without_marks_is_told(table: ModuleType) -> None:
    with pytest.raises(SystemExit, match="the page has no <!-- contests -->"):
        table.filled("nothing", "contests", "text")
