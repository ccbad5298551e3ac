"""Several processes that add to one ledger and are killed: the small version of benchmarks/ledger."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ledger" / "run.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ledger_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_is_lost_or_added_twice(script: ModuleType, tmp_path: Path) -> None:
    found = script.try_it(tmp_path, requests=120, processes=3, kills=8, seed=1)
    assert (found["requests"], found["wanted"]) == (120, 120)
    assert (found["lost"], found["added twice"], found["broken"]) == ([], 0, [])
    assert found["killed"] > 0, "a fast machine is done before the last one"
    # 12 in 120 are extended and 6 refused, each once; one more event is the ledger's own
    assert found["events"] == 120 + 12 + 6 + 1
    assert script.list_seconds(tmp_path, turns=1)["processor"] > 0
