"""Typing commands, and a finished run to type them about."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import expunge
from expunge import cli
from expunge.runs.folder import RunFolder
from said import Said, Type
from small import SMALL, write_texts


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


@pytest.fixture(scope="package")
def finished(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of a method with signals of its own. Copy it before it is changed."""
    target, retain = write_texts(tmp_path_factory.mktemp("texts"))
    options = SMALL | {"method": "npo", "retain": str(retain), "evaluation.familiarity": False}
    return expunge.forget(
        str(target), model=str(tiny_model_folder), out=tmp_path_factory.mktemp("run") / "run", **options
    )


@pytest.fixture
def copied(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of that run."""
    return RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
