"""Tests with several Pythons and with the lowest and newest packages that `pyproject.toml` allows.

`python tests/matrix.py [--torch-index URL] [--python 3.12] [--packages lowest]`. Each pair gets a virtual environment in
build/matrix, and is tested there. What is not on this machine (an interpreter, a wheel) is said, and is no failure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
HELD = ("torch", "transformers", "peft", "accelerate")
"packages that are taken at their lowest; of the others the newest is taken"
TESTS = ("tests/cli", "tests/runs", "tests/kinds/language/test_recipe.py", "tests/kinds/language/objects/test_unlearn.py",
         "tests/train/test_loop.py", "tests/train/test_checkpoint.py")  # fmt: skip


def lowest() -> list[str]:
    """`torch==2.6.*` for `torch>=2.6`: each held package at the lowest version that the project allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = {name: bound for name, _, bound in (each.partition(">=") for each in project["dependencies"])}
    return [f"{name}=={bounds[name].partition(',')[0]}.*" for name in HELD]


def has(python: str) -> str | None:
    """The interpreter of a version, where it is on this machine and starts: on the path, or among those of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{python}"), *sorted(map(str, pyenv.glob(f"versions/{python}.*/bin/python")))]
    for path in filter(None, found):
        if subprocess.run([path, "-c", "import venv, ssl"], capture_output=True).returncode == 0:
            return path
    return None


def tried(python: str, packages: str, torch_index: str | None) -> str:
    """What came of one pair, in words that begin with passed, FAILED or not there."""
    interpreter = has(python)
    if interpreter is None:
        return "not there: no interpreter"
    folder = ROOT / "build" / "matrix" / f"{python}-{packages}"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    held = lowest() if packages == "lowest" else list(HELD)
    torch = [*pip, *(["--index-url", torch_index] if torch_index else []), held[0]]
    for command in ([*pip, "--upgrade", "pip>=25.1"], torch, [*pip, "-e", ".[parquet]", "--group", "dev", *held]):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            return f"not there: {last}"
    code = subprocess.run([folder / "bin" / "python", "-m", "pytest", "-q", *TESTS], cwd=ROOT).returncode
    return "passed" if code == 0 else "FAILED"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-index", help="where torch comes from, such as https://download.pytorch.org/whl/cpu")
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=PYTHONS)
    parser.add_argument("--packages", nargs="+", choices=("lowest", "newest"), default=("lowest", "newest"))
    given = parser.parse_args()
    found = {(p, q): tried(p, q, given.torch_index) for p in given.python for q in given.packages}
    for (python, packages), words in found.items():
        print(f"Python {python}, {packages:<6} packages: {words}")
    passed = [words for words in found.values() if words == "passed"]
    sys.exit(0 if passed and not any(words == "FAILED" for words in found.values()) else 1)


if __name__ == "__main__":
    main()
