"""What the runs and audits of a module's tests have in common: made once, and copied into the folders of the others.

`Run.cached` names a result by everything that it depends on. Copied is what is found of texts and of models that are there
before: never a model that a run made, nor what it measured of that.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from expunge.runs.context import Run

CACHED = Run.cached
SHARED = re.compile(
    r"terms|control|control-terms|sampled-\w+|measured-base|known-\w+|said-\w+|damage|audit-.*-control.*"
)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Results that do not depend on what a test does are made for the first run that needs them."""
    kept, notices = tmp_path_factory.mktemp("kept"), dict[str, list[str]]()

    def cached(
        run: Run[Any], name: str, key: dict[str, Any], make: Callable[[Path], None], doing: str | None = None
    ) -> Path:
        place = kept / run.cache_path(name, key).name

        def copied(aside: Path) -> None:
            if place.is_dir():
                shutil.copytree(place, aside, dirs_exist_ok=True)
                for text in notices[place.name]:
                    run.notice(text)
                return
            before = len(list(run.folder.read_events("notice")))
            make(aside)
            notices[place.name] = [row["text"] for row in run.folder.read_events("notice")][before:]
            shutil.copytree(aside, place)

        return CACHED(run, name, key, copied if SHARED.fullmatch(name) else make, doing)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "cached", cached)
        yield


@pytest.fixture
def made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a test that looks at the making itself."""
    monkeypatch.setattr(Run, "cached", CACHED)
