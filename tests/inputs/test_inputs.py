"""The table of inputs: every row of every file here that defines `CASES` is a test.

To add an input that somebody had, add a `Case` to the file of its kind, or a file for a new kind.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from case import Case


def table() -> list[object]:
    rows: list[object] = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem in ("case", "test_inputs"):
            continue
        spec = importlib.util.spec_from_file_location(f"inputs_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        rows += [pytest.param(case, id=f"{path.stem}: {case.what}") for case in module.CASES]
    return rows


@pytest.mark.parametrize("case", table())
def test_input(case: Case, tmp_path: Path) -> None:
    if case.refused is not None:
        with pytest.raises(case.refused) as caught:
            case.use(tmp_path)
        for part in case.says:
            assert part in str(caught.value)
        return
    assert case.expect is not None
    case.expect(case.use(tmp_path))
