"""The tiny model made to forget the small text, in a run of its own or one that is shared."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from whole_runs import Forget

import expunge
from expunge.runs.folder import RunFolder
from small import SMALL, write_texts


@pytest.fixture(scope="session")
def forget(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Forget:
    """Make the tiny model forget the small text; options are fields of the recipe."""
    target, retain = write_texts(tmp_path_factory.mktemp("texts"))

    def run(out: Path, method: str = "gradient_ascent", **options: Any) -> RunFolder:
        usual = SMALL | {"method": method, "retain": str(retain), "model": str(tiny_model_folder)}
        return expunge.forget(str(options.pop("target", target)), out=out, **usual | options)

    return run


@pytest.fixture(scope="session")
def one_run(forget: Forget, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run to copy from."""
    return forget(tmp_path_factory.mktemp("one") / "run")


@pytest.fixture
def copied(one_run: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(one_run.path, tmp_path / "copied")
    return RunFolder(tmp_path / "copied")
