"""`expunge init`: recipes that are accepted, as they are written and with every comment taken away."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from expunge.runs.kinds import read_recipe
from said import Type

GIVEN = {
    "language": ("--forget", "book.txt", "--retain", "other.txt", "--method", "npo"),
    "classifier": ("--forget", "age <= 12", "--data", "faces", "--method", "scrub"),
    "generator": ("--forget", "people.csv", "--data", "faces.npz"),
}


@pytest.mark.parametrize("sort", GIVEN)
def test_what_is_written_is_a_recipe_and_so_is_all_that_it_comments(sort: str, typed: Type) -> None:
    said = typed("init", "mine.yaml", "--sort", sort, *GIVEN[sort])
    assert said.code == 0
    assert "expunge run mine.yaml --out runs/mine" in said.out
    text = Path("mine.yaml").read_text()
    recipe = read_recipe(Path("mine.yaml"))
    assert recipe.forget == GIVEN[sort][1]
    uncommented = re.sub(r"^( *)# (\w+:)", r"\1\2", text, flags=re.M)
    assert uncommented != text
    assert len(yaml.safe_load(uncommented)["method"]) > len(yaml.safe_load(text)["method"])
    Path("mine.yaml").write_text(uncommented)
    whole = read_recipe(Path("mine.yaml"))
    assert whole.model_dump(exclude={"method"}) == recipe.model_dump(exclude={"method"})  # comments show the defaults


def test_on_a_terminal_what_is_not_given_is_asked(typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["clasifier", "classifier", "", "", "faces", "random:0.02", "srcub", "scrub"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: next(answers))
    said = typed("init")
    assert said.out.count("did you mean") == 2
    assert "An answer is needed." in said.out
    recipe = read_recipe(Path("recipe.yaml"))
    assert (recipe.model, recipe.method["name"]) == ("resnet18-small", "scrub")
    assert next(answers, None) is None


def test_mistakes_are_said_and_nothing_is_written_over(typed: Type) -> None:
    Path("recipe.yaml").write_text("mine")
    said = typed("init", "--forget", "x")
    assert (said.code, "recipe.yaml already exists" in said.err) == (2, True)
    assert Path("recipe.yaml").read_text() == "mine"
    said = typed("init", "new.yaml")
    assert (said.code, "--forget is missing" in said.err) == (2, True)
    said = typed("init", "new.yaml", "--forget", "x", "--method", "nop")
    assert (said.code, "there is no method 'nop' for this" in said.err) == (2, True)
    assert not Path("new.yaml").exists()
