"""What holds for the whole of the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import expunge

SOURCE = Path(expunge.__file__).parent


def test_no_source_file_is_long() -> None:
    lines = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > 350} == {}


def test_no_function_has_many_parameters() -> None:
    found = {}
    for path in SOURCE.rglob("*.py"):
        for each in ast.walk(ast.parse(path.read_text())):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                given = each.args
                names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                names += [one.arg for one in (given.vararg, given.kwarg) if one]
                found[f"{path.relative_to(SOURCE)}: {each.name}"] = len(
                    [one for one in names if one not in ("self", "cls")]
                )
    assert {name: count for name, count in found.items() if count > 8} == {}


def test_the_public_surface_is_eleven_names() -> None:
    functions = ["audit", "compare", "evaluate", "forget", "load_run", "plan", "prepare", "run", "unlearn"]
    assert expunge.__all__ == ["Training", *functions[:5], "methods", *functions[5:]]
    assert all(callable(getattr(expunge, name)) for name in functions)
    assert set(expunge.__all__) <= set(dir(expunge))
    with pytest.raises(AttributeError, match="no attribute 'unlern'"):
        _ = expunge.unlern  # type: ignore[attr-defined]


def test_methods_are_found_by_the_names_of_their_classes() -> None:
    assert expunge.methods.NPO(beta=0.2).beta == 0.2
    assert {"NPO", "WhosHarryPotter", "SCRUB"} & set(dir(expunge.methods)) >= {"NPO", "WhosHarryPotter"}
    for name in ("Npo", "NPOs", "encoder_training_"):
        with pytest.raises(AttributeError, match=f"no method class '{name}'"):
            getattr(expunge.methods, name)


def python(code: str) -> str:
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


HEAVY = "{'torch', 'transformers', 'matplotlib', 'wordfreq', 'faker', 'peft', 'accelerate', 'datasets'}"


QUICK = ["expunge", "expunge.cli", "expunge.kinds.language.recipe", "expunge.runs.folder", "expunge.core.storage"]


def test_importing_them_is_quick() -> None:
    """All in one process: what none of them brings in, no single one does."""
    code = f"import importlib, sys\nfor name in {QUICK}:\n    importlib.import_module(name)\n"
    assert python(f"{code}    print(name, sorted({HEAVY} & set(sys.modules)))") == "".join(
        f"{name} []\n" for name in QUICK
    )


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
