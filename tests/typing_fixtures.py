"""Typing commands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from expunge import cli
from fork_server import Commands
from said import Said, Type

COMMANDS = pytest.StashKey[Commands]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """The server that commands are forked from is forked before the first test."""
    if not session.config.option.collectonly and any("commands" in item.fixturenames for item in session.items):
        session.config.stash[COMMANDS] = Commands()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if COMMANDS in session.config.stash:
        session.config.stash[COMMANDS].end()


@pytest.fixture(scope="session")
def commands(request: pytest.FixtureRequest) -> Commands:
    """Commands in processes of their own."""
    return request.config.stash[COMMANDS]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Type:
    """Type a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["expunge", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Said(int(left.value.code or 0), out, err)

    return run
