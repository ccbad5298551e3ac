"""--quiet of every verb: no progress, no notes; what a verb is asked for, and no more; the same exit code."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from cyclopts import App

from expunge.cli import app
from expunge.runs.folder import RunFolder
from said import Said, Type
from small import write_texts

pytest.importorskip("securesystemslib")


def verbs(of: App, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that can be typed, verbs of verbs too."""
    for name in of:
        if name.startswith("-"):
            continue
        if any(not each.startswith("-") for each in of[name]):
            yield from verbs(of[name], (*before, name))
        else:
            yield (*before, name)


ALL = sorted(verbs(app))


def test_the_verbs_of_verbs_are_known() -> None:
    assert {("run",), ("request", "list"), ("suite", "challenge"), ("app",)} <= set(ALL)
    assert len(ALL) > 35


@pytest.mark.parametrize("verb", ALL, ids=" ".join)
def test_every_verb_takes_it(verb: tuple[str, ...], typed: Type) -> None:
    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", typed(*verb, "--help").out).split())
    assert "--quiet" in words
    assert "Show no progress and no notes: only errors, and what is asked for." in words


def nothing(loud: str) -> str:
    assert loud  # or the option would show nothing here
    return ""


def everything(loud: str) -> str:
    assert loud
    return loud


def without(note: str) -> Callable[[str], str]:
    """What is printed otherwise, less the lines in which this is found, of which there is at least one."""

    def left(loud: str) -> str:
        lines = loud.splitlines(keepends=True)
        kept = [line for line in lines if not re.search(note, line)]
        assert 0 < len(kept) < len(lines), loud
        return "".join(kept).rstrip("\n") + "\n"

    return left


def word(number: int) -> Callable[[str], str]:
    return lambda loud: loud.split()[number] + "\n"


@pytest.fixture
def placed(finished: RunFolder, tiny_model_folder: Path, tmp_path: Path, typed: Type) -> Callable[[str], str]:
    """Work in a new folder with two runs, texts, keys, a model, and a ledger with a request and a noted copy."""
    from expunge.evidence.envelope import new_key

    def place(name: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        os.chdir(folder)  # `typed` goes back
        for run in ("run", "other"):
            shutil.copytree(finished.path, run)
        (folder / "model").symlink_to(tiny_model_folder)
        write_texts(folder)
        new_key(Path("key"))
        due = date.today() + timedelta(days=5)
        typed("request", "add", "--subject", "Ada", "--due", due, "--idempotency-key", "7", "forget.txt")
        noted = typed("request", "note-copy", "run", "--kind", "other", "--where", "phones", "--tell", "us", "--quiet")
        (folder / "german.txt").write_text("Vigdis kann man unter 01632 960417 anrufen, sagte Herr Olafsson.")
        return noted.out.strip()

    return place


def alike(said: Said) -> Said:
    """Without what differs from folder to folder."""
    return said._replace(out=re.sub(r"\S*/(loud|quiet)/|\d+:\d+:\d+|(copy )?[0-9a-f]{12}", "", said.out))


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("run run/recipe.yaml --out run", nothing),
        ("evaluate run", nothing),
        ("report run", nothing),
        ("compare run other", everything),
        ("clean run", without("can be deleted;")),
        ("clean run --yes", nothing),
        ("publish run me/forgot", without("Nothing was sent")),
        ("verify run", nothing),
        ("sign run --key key", nothing),
        ("sign --new-key another", nothing),
        ("init a.yaml --forget forget.txt --method npo", nothing),
        ("recipes", everything),
        ("methods", without("images: classifiers")),
        ("methods npo", everything),
        ("doctor", nothing),
        ("plan whos_harry_potter --forget forget.txt --model model --device h200", without("^  (?!the audit takes)")),
        ("inspect german.txt --model model", without("^note: ")),
        ("request list", everything),
        ("request list --state closed", nothing),
        ("request show R1", everything),
        ("request add --subject Ada --idempotency-key 7 forget.txt", word(0)),
        ("request add --subject Eve", word(0)),
        ("request extend R1 --reason many", nothing),
        ("request refuse R1 --reason many", nothing),
        ("request check", nothing),
        ("request stored", nothing),
        ("request note-copy run --kind other --where phones --tell us", word(1)),
        ("request told R1 --copy {copy}", nothing),
    ],
)
def test_it_leaves_what_is_asked_for(
    words: str, wanted: Callable[[str], str], placed: Callable[[str], str], typed: Type
) -> None:
    copy = placed("loud")
    loud = alike(typed(*words.format(copy=copy).split()))
    assert placed("quiet") == copy
    assert alike(typed(*words.format(copy=copy).split(), "--quiet")) == Said(loud.code, wanted(loud.out), "")


@pytest.mark.parametrize(
    ("words", "change"), [("verify run", "run/scores.json"), ("request check --head " + "0" * 64, None)]
)
def test_what_is_wrong_is_printed_all_the_same(
    words: str, change: str | None, placed: Callable[[str], str], typed: Type
) -> None:
    placed("place")
    if change is not None:
        Path(change).write_text("[]")
    said = typed(*words.split(), "--quiet")
    assert said.code == 1
    assert said.out.splitlines()
    assert all(line.startswith("FAILED") for line in said.out.splitlines())
