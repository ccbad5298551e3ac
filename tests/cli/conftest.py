"""A finished run to type commands about."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import expunge
from expunge.runs.folder import RunFolder
from small import SMALL, write_texts


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
