"""How golden runs are done: by recipes, and by typed commands."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import expunge
from expunge.cli import main as typed
from golden_inputs import Place, write
from golden_recording import Recording, recording, scores, text_lines


@dataclass(frozen=True)
class Golden:
    """A golden run: `make` does it and returns what is recorded."""

    name: str
    make: Callable[[Place], Recording]
    needs: tuple[str, ...] = ()


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    found: dict[str, Any] = {}
    for name, value in dotted.items():
        *parents, leaf = name.split(".")
        node = found
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return found


def recipe_file(place: Place, name: str, recipe: Mapping[str, Any]) -> Path:
    path = place.root / "recipes" / f"{name.replace('/', '-')}.yaml"
    write(path, yaml.safe_dump(place(nested(recipe)), sort_keys=False))
    return path


def carried_out(place: Place, name: str, recipe: Mapping[str, Any]) -> Recording:
    """A run of a recipe that is given as dotted fields."""
    expunge.run(recipe_file(place, name, recipe), place.run(name))
    return recording(place, place.run(name))


def command(place: Place, *words: str, failing: bool = False) -> tuple[int, list[str]]:
    """Type a command; its exit code and what it prints.

    Raises:
        RuntimeError: it ended with another code than 0 and 3 (the verdict failed), and not `failing`.
    """
    argv, before = sys.argv, {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        sys.argv = ["expunge", *(str(place(word)) for word in words)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            typed()
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        sys.argv = argv
        for number, handler in before.items():
            signal.signal(number, handler)
    if code not in (0, 3) and not failing:
        raise RuntimeError(f"expunge {' '.join(words)} ended with code {code}: {err.getvalue()[-2000:]}")
    return code, text_lines(place, out.getvalue())


def typed_run(place: Place, name: str, *words: str) -> Recording:
    """A run by the command line, with what it prints."""
    code, lines = command(place, *words, "--out", f"@runs/{name}")
    found = recording(place, place.run(name))
    found["exit code"] = code
    found["texts"]["printed"] = lines
    return found


def afterwards(place: Place, first: str, second: str) -> Recording:
    """What `report`, `verify` and `compare` make of finished runs."""
    page = place.run(first) / "report.html"
    before = page.read_bytes()
    page.unlink()
    _, reported = command(place, "report", f"@runs/{first}")
    same = page.read_bytes() == before
    code, verified = command(place, "verify", f"@runs/{first}", failing=True)
    _, compared = command(place, "compare", f"@runs/{first}", f"@runs/{second}")
    return {
        "report is the same": same,
        "verify's code": code,
        "texts": {"report": reported, "verify": verified, "compare": compared},
    }


def evaluated(place: Place, first: str, *words: str, model: str = "") -> Recording:
    """A copy of a finished run measured again, from the command line; and a model on the sets of that run."""
    name = f"{first.partition('/')[0]}/evaluated"
    shutil.copytree(place.run(first), place.run(name))
    for path in place.run(name).glob("stages/measured-*"):
        shutil.rmtree(path)
    code, lines = command(place, "evaluate", f"@runs/{name}", *words)
    found = recording(place, place.run(name))
    found["exit code"] = code
    found["texts"]["printed"] = lines
    if model:
        rows = expunge.evaluate(place(model), recipe=place.run(name) / "recipe.yaml")
        found["scores of a model"] = scores([row.row() for row in rows])
    return found
