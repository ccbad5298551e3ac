"""What is printed when a run is done, of a run folder with made-up figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fake_run import make_run

from expunge.cli import main
from expunge.cli.console import print_summary
from expunge.core.progress import Live

OBEYED = "\x1b]0;title\x07\x1b[31m\x9b2J\u202e\rred\x08"


@pytest.mark.parametrize("field", ["prompt", "before", "after"])
def test_what_a_model_said_is_shown_and_never_obeyed(
    field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_run(tmp_path / "run")
    rows = json.loads(folder.answers.read_text(encoding="utf-8"))
    for row in rows:
        row[field] = f"Said {OBEYED} [bold]so[/bold]"
    folder.answers.write_text(json.dumps(rows), encoding="utf-8")
    assert print_summary(folder) == 0
    printed = capsys.readouterr().out
    assert "Said �]0;title��[31m" in printed
    assert "[bold]so[/bold]" in printed
    assert not set(printed) & set("\x1b\x07\x9b\x08\r\u202e")


def test_a_score_without_an_interval_is_shown_without_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "run")
    scores = json.loads(folder.scores.read_text(encoding="utf-8"))
    for row in scores:
        if (row["measure"], row["split"]) == ("perplexity", "retain"):
            row["value"] = row["low"] = row["high"] = 12.5
    folder.scores.write_text(json.dumps(scores), encoding="utf-8")
    print_summary(folder)
    (line,) = (
        line for line in capsys.readouterr().out.splitlines() if line.startswith("perplexity") and "retain" in line
    )
    assert line.split()[3:] == ["12.500", "12.500", "12.500", "lower"]


def test_what_is_best_is_what_the_report_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of what is best at chance neither the higher nor the lower is better."""
    folder = make_run(tmp_path / "run")
    scores = json.loads(folder.scores.read_text(encoding="utf-8"))
    for row in scores:
        if (row["measure"], row["split"]) == ("perplexity", "forget"):
            row["measure"] = "identity_recognition"
    folder.scores.write_text(json.dumps(scores), encoding="utf-8")
    print_summary(folder)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("identity_recognition"))
    assert line.split()[-1] == "chance"


def test_what_is_said_on_the_way_is_shown_and_never_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    show = Live()
    show.stage(f"reading {OBEYED}")
    show.say(f"found {OBEYED} [bold]so[/bold]")
    show.close()
    printed = capsys.readouterr().err
    assert "found �]0;title��[31m" in printed
    assert "[bold]so[/bold]" in printed
    assert not set(printed) & set("\x1b\x07\x9b\x08\r\u202e")


def test_a_file_shows_a_stage_when_it_begins_and_its_time_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    show = Live()
    show.stage("reading")
    assert capsys.readouterr().err.rstrip() == "reading"
    show.stage("training")
    begun = capsys.readouterr().err
    assert re.fullmatch(r" +\d+\.\d s\ntraining +", begun)
    show.say("a remark")
    show.close()
    assert re.fullmatch(r"\na remark\ntraining +\d+\.\d s\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("share", "seconds", "line"),
    [
        (0.25, 40.0, "  training: 25%, about 2 min left step 1/4"),
        (0.5, 40.0, "  training: 50%, about 40 s left step 1/4"),
        (0.002, 40.0, "  training: 0%, about 5.5 h left step 1/4"),
        (0.0, 40.0, "  training: 0% step 1/4"),
        (1.0, 40.0, "  training: 100%, about 0 s left step 1/4"),
    ],
)
def test_a_file_shows_how_long_a_stage_still_takes(
    share: float, seconds: float, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show, now = Live(), 1000.0
    monkeypatch.setattr("expunge.core.progress.time.monotonic", lambda: now)
    show.stage("training")
    now += seconds
    show.update(share, "step 1/4")
    show.update(share, "step 1/4")  # too soon for another line
    assert capsys.readouterr().err.splitlines()[1:] == [line]
    show.close()


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")
def test_an_error_is_shown_and_never_obeyed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["expunge", "report", f"no{OBEYED}where"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    printed = capsys.readouterr().err
    assert "expunge: no�]0;title��[31m" in printed
    assert "is not a run folder" in printed
    assert not set(printed) & set("\x1b\x07\x9b\x08\r\u202e")
