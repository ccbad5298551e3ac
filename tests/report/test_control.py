"""The control stands beside before and after: in the report's cards and figure, on the console, in the verdict's words."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import make_run, record, score

from expunge.cli.console import print_summary
from expunge.kinds.language.recipe import Verdict
from expunge.report.model_card import model_card
from expunge.report.render import render_report
from expunge.report.verdict_words import verdict_words
from expunge.runs.folder import RunFolder
from verdicts import judge

WORSE = {"higher_is": "worse", "unit": "share"}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """0.29 before, 0.09 in the control of 20 prompts, 0.007 after; 29 of 40 questions right before, 21 after."""
    folder = make_run(tmp_path / "run", retrained=False)
    more = [score("familiarity_completion", "control", "base", [0.085, 0.095] * 10, **WORSE)]
    for model, right in (("base", 29), ("unlearned", 21)):
        more.append(score("two_answers", "forget", model, [1.0] * right + [0.0] * (40 - right), **WORSE))
        more.append(score("two_answers", "control", model, [1.0, 0.0] * 20, **WORSE))
    folder.write_scores([*folder.read_scores(), *more])
    return folder


def test_the_report_shows_the_controls_bar_between_before_and_after(run: RunFolder) -> None:
    page = render_report(run).read_text(encoding="utf-8")
    card = page[page.index("<h3>Familiarity by completion</h3>") :].partition("</p>")[0]
    assert re.findall(r"<small>(before|control|after)", card) == ["before", "control", "after"]
    assert "0.090 <small>control" in card
    assert "n = 20" in card
    figure = re.search(r"Familiarity by completion: before 0\.290, control 0\.090, after 0\.007", page)
    assert figure
    assert "Questions with two answers: before 0.725, control 0.500, after 0.525" in page
    # all that lay above the control is gone: (0.29 - 0.007) / (0.29 - 0.09) is more than all
    assert re.search(r"from 0\.290\S* to 0\.007\S*, 100\s%\s*of what lay above the control is gone", page)


def test_the_console_has_a_column_for_the_control(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(run)
    lines = capsys.readouterr().out.splitlines()
    (header,) = (line for line in lines if line.startswith("measure"))
    assert header.split()[:6] == ["measure", "split", "n", "before", "control", "after"]
    (row,) = (line for line in lines if line.startswith("familiarity_completion"))
    assert re.findall(r"(\S+) \[", row) == ["0.290", "0.090", "0.007"]
    (row,) = (line for line in lines if line.startswith("two_answers"))
    assert re.findall(r"(\S+) \[", row) == ["0.725", "0.500", "0.525"]


def test_not_known_well_enough_is_said_everywhere_and_is_no_pass(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "not known well enough to measure forgetting"
    found = [
        replace(s, split="control") if s.model == "base" else s
        for s in run.read_scores()
        if s.measure.startswith("familiarity") and s.split == "forget"
    ]
    bases = [replace(s, split="forget") for s in found if s.split == "control"]
    others = [s for s in run.read_scores() if not s.measure.startswith("familiarity")]
    judged = judge([*found, *bases, *others], Verdict())
    assert (judged["passed"], judged["not_known"]) == (False, True)
    run.record.write_text(json.dumps(record() | {"verdict": judged}), encoding="utf-8")
    assert print_summary(run) == 3
    out = capsys.readouterr().out
    assert f"Verdict: {told}" in out
    assert "Verdict: passed" not in out
    words = verdict_words(judged)
    assert (words.state, words.headline.lower()) == ("failed", told)
    assert told.capitalize() in model_card(run)
    assert told.capitalize() in render_report(run).read_text(encoding="utf-8")


def test_a_check_that_was_not_made_is_neither_passed_nor_failed(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    content = record()
    content["verdict"]["checks"][1] |= {"passed": None, "value": None}
    run.record.write_text(json.dumps(content), encoding="utf-8")
    assert print_summary(run) == 0
    assert "  not made  familiarity_probability" in capsys.readouterr().out
