"""--json and --quiet: one document, or nothing; and the same exit code as without."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from expunge.runs.folder import RunFolder
from expunge.runs.registry import built_in
from said import Type


@pytest.mark.parametrize("verb", ["methods", "recipes", "doctor"])
def test_lists_as_json(verb: str, typed: Type) -> None:
    rows = json.loads(typed(verb, "--json").out)
    if verb == "methods":
        assert [row["name"] for row in rows] == built_in()
        assert rows[built_in().index("scrub")]["works_on"] == ["images"]
    elif verb == "recipes":
        assert all(Path(row["file"]).is_file() for row in rows)
    else:
        assert {"expunge", "torch", "memory"} <= {row["name"] for row in rows["machine"]}


def test_a_method_as_json(typed: Type) -> None:
    assert json.loads(typed("methods", "npo", "--json").out)["fields"]["beta"]["default"] == 0.1


def test_a_run_as_json_and_quietly(copied: RunFolder, typed: Type) -> None:
    words = typed("run", copied.recipe, "--out", copied.path)
    said = typed("run", copied.recipe, "--out", copied.path, "--json", "--quiet")
    found = json.loads(said.out)
    assert said.code == words.code == (0 if found["verdict"]["passed"] else 3)
    assert found["scores"] == json.loads(copied.scores.read_text())
    assert said.err == ""
    assert "Verdict:" in words.out
    quiet = typed("evaluate", copied.path, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (words.code, "", "")


def test_verify_as_json_and_quietly(copied: RunFolder, typed: Type) -> None:
    rows = json.loads(typed("verify", copied.path, "--json").out)
    assert {"what": "scores.json has the recorded digest", "ok": True} in rows
    assert typed("verify", copied.path, "--quiet").out == ""
    copied.scores.write_text("[]")
    said = typed("verify", copied.path, "--quiet")
    assert said.code == 1
    assert all(line.startswith("FAILED") for line in said.out.splitlines())


def test_compare_as_json_and_as_a_page(copied: RunFolder, finished: RunFolder, typed: Type) -> None:
    found = json.loads(typed("compare", finished.path, copied.path, "--json", "--html", "c.html").out)
    assert found["scores"][0]["by_run"].keys() == set(found["runs"])
    page = Path("c.html").read_text()
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="([^"#][^"]*)"', page) == []  # nothing is loaded from elsewhere
