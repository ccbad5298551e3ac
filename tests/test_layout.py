"""What holds for the whole of the source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import expunge

SOURCE = Path(expunge.__file__).parent


def test_no_source_file_is_long() -> None:
    lines = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > 350} == {}


def test_the_public_surface_is_five_names() -> None:
    assert expunge.__all__ == ["compare", "evaluate", "forget", "load_run", "run"]
    assert all(callable(getattr(expunge, name)) for name in expunge.__all__)
    with pytest.raises(AttributeError, match="no attribute 'unlearn'"):
        _ = expunge.unlearn  # type: ignore[attr-defined]


def python(code: str) -> str:
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


HEAVY = "{'torch', 'transformers', 'matplotlib', 'wordfreq', 'faker', 'peft', 'accelerate', 'datasets'}"


@pytest.mark.parametrize(
    "module", ["expunge", "expunge.cli", "expunge.kinds.language.recipe", "expunge.runs.folder", "expunge.core.storage"]
)
def test_importing_it_is_quick(module: str) -> None:
    assert python(f"import sys, {module}; print(sorted({HEAVY} & set(sys.modules)))") == "[]\n"


def test_help_works_and_is_quick() -> None:
    code = (
        "import sys\nfrom expunge.cli import app\n"
        "for words in (['--help'], ['forget', '--help'], ['run', '--help']):\n"
        "    app(words, exit_on_error=False, result_action='return_value')\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    shown = python(code)
    assert shown.endswith("[]\n")
    for verb in ("forget", "run", "plan", "teach", "evaluate", "compare", "report", "verify", "methods", "doctor"):
        assert verb in shown
    assert "TARGET" in shown
