"""A run folder: what a run writes and every later verb reads.

```
recipe.yaml        the recipe with every default filled in
events.jsonl       one line an event: stages, steps, probes, warnings
stages/            cached results of preparation and measuring, one folder each, keyed by their inputs; and a
                   model's answers so far (NAME-so-far.json), while sampling
checkpoints/       the last good state of the unlearning loop
target/            a topic as text to read and edit (topics only)
anchors.yaml       the anchored terms and their translations (if the method uses them)
model/             the unlearned model: plain `from_pretrained`
adapter/           the adapter that was merged into it, if it is saved too
scores.json        a list of scores; per_example.json has the values behind their intervals
answers.json       answers side by side, before and after
toxicity.json      toxicity prompts with sampled continuations and their scores (if measured)
report.html        the report; record.json: versions, digests, cost, verdict
.progress.json     stage and share done, while a process is at work
audit/             what attacks brought back (`expunge audit`): audit.json, report.html, and the limits, fixed first
```
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.memory import device_peak_bytes, peak_memory_bytes
from expunge.core.plain_yaml import read_yaml
from expunge.core.processes import is_first
from expunge.core.score import Score
from expunge.errors import ExpungeError, RunError

NAMES = (
    r"(recipe|anchors)\.yaml|(scores|per_example|answers|record|teach|contest)\.json|report\.html|"
    r"(forget|retain)\.txt|target|model|adapter|retrained"
)
"temporary files in a run folder, or in one of a suite"

ANOTHER = "choose another --out, such as runs/NAME"
LOCK = ".lock"
"held by the process that is at work in the folder"


class RunFolder:
    """Paths and files of one run. Opening it creates nothing; the file `known_by` marks it as made by a run."""

    def __init__(self, path: str | os.PathLike[str], known_by: str = "recipe.yaml") -> None:
        self.path = Path(path)
        self.known_by = self.path / known_by
        self.recipe = self.path / "recipe.yaml"
        self.events = self.path / "events.jsonl"
        self.stages = self.path / "stages"
        self.checkpoints = self.path / "checkpoints"
        self.target = self.path / "target"
        self.anchors = self.path / "anchors.yaml"
        self.model = self.path / "model"
        self.adapter = self.path / "adapter"
        self.scores = self.path / "scores.json"
        self.per_example = self.path / "per_example.json"
        self.answers = self.path / "answers.json"
        self.toxicity = self.path / "toxicity.json"
        self.report = self.path / "report.html"
        self.record = self.path / "record.json"
        self.audit = self.path / "audit"
        self.shown = self.path / ".progress.json"
        self.listeners: list[Callable[[str, dict[str, Any]], None]] = []
        "called with each event that is logged, and its values"
        self._begun = {
            self.stages.name,
            self.checkpoints.name,
            self.events.name,
            self.shown.name,
            f"{self.shown.name}~",
            LOCK,
        }
        "parts that a run makes before it writes its recipe"

    def create(self) -> RunFolder:
        with storage.storage_errors(self.path):
            self.stages.mkdir(parents=True, exist_ok=True)
            self.checkpoints.mkdir(exist_ok=True)
        storage.remove_leftovers(self.path, NAMES)  # the folder may hold a user's own files too
        for folder in (self.stages, self.checkpoints):
            storage.remove_leftovers(folder)
        storage.remove_leftovers(self.target, re.escape("answers.jsonl"))
        storage.remove_leftovers(self.model, re.escape("README.md"))
        for folder in self.checkpoints.iterdir():
            storage.remove_leftovers(folder)
        return self

    def refuse_base(self, base: Path | None) -> None:
        """Raise if the base model's folder is inside the run folder, or the run folder inside it."""
        if base is None:
            return
        out, there = self.path.resolve(), base.resolve()
        if out.is_relative_to(there) or there.is_relative_to(out):
            raise RunError(
                f"the run folder {self.path} and the folder of the base model are the same, or one is inside the other",
                seen=f"base model: {base}",
                next_step=f"{ANOTHER}: the base model is never written to",
            )

    def _refuse_foreign(self) -> None:
        """Raise if a run in this folder would write among other files."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError(f"{self.path} is a file; a run writes a folder", next_step=ANOTHER)
        if self.known_by.is_file() and (self.stages.is_dir() or self.events.is_file()):
            return
        # From a run that was killed before its recipe was written; and answers about a topic, which a user may provide.
        begun = self._begun | {self.target.name}
        names = sorted(each.name for each in self.path.iterdir() if each.name not in begun)
        if others := [name for name in names if not storage.is_leftover(name)]:
            raise RunError(
                f"{self.path} is not the folder of an earlier run, and not empty",
                seen=", ".join(others[:3]) + (", ..." if len(others) > 3 else ""),
                allowed="a new or empty folder, or that of an earlier run",
                next_step=ANOTHER,
            )

    @contextlib.contextmanager
    def locked(self) -> Iterator[RunFolder]:
        """Create the folder and lock it: one process at a time. Raises `RunError` for a folder that no run made.

        A new folder is deleted again if an error ends the work before anything was made.
        """
        with storage.storage_errors(self.path):
            self._refuse_foreign()
            new = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            handle = open(self.path / LOCK, "w")  # noqa: SIM115 - held until the run ends
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.close()
            raise RunError(
                f"another process is at work in {self.path}", next_step="wait for it, or choose another --out"
            ) from error
        try:
            self.create()  # only now: it deletes what another process may be writing
            yield self
        except ExpungeError:
            if new:
                self._remove_if_nothing_was_made()
            raise
        finally:
            handle.close()

    def _remove_if_nothing_was_made(self) -> None:
        """A run that was refused at its beginning, for its target or its recipe, leaves no folder."""
        with contextlib.suppress(OSError):
            made = [*self.checkpoints.iterdir(), *self.stages.iterdir()]
            if not made and {each.name for each in self.path.iterdir()} <= self._begun | {self.recipe.name}:
                self.recipe.unlink(missing_ok=True)  # first: without it, the rest is the folder of a run that begins
                shutil.rmtree(self.path)

    def claim(
        self, recipe: Mapping[str, Any], text: str, free: Collection[str] = (), held: Mapping[str, Any] | None = None
    ) -> None:
        """Write the resolved recipe, or check that the folder belongs to the same run.

        Args:
            recipe: the recipe as JSON values; text: the same as written.
            free: fields that may differ from the existing run.
            held: the existing recipe, if the caller has read it.
        """
        if held is None and self.recipe.is_file():
            content = self._recipe_here()
            held = content if isinstance(content, dict) else {}
        if held is not None:
            different = [
                name
                for key in recipe
                if key not in free and held.get(key) != recipe[key]
                for name in differences(held.get(key), recipe[key], key)
            ]
            if different:
                first = different[0]
                raise RunError(
                    f"{self.path} holds another run: its recipe differs in {', '.join(different)}",
                    seen=f"{first}: {_value(held, first)}",
                    allowed=f"{first}: {_value(recipe, first)}",
                    next_step=_moved(held, different, self.recipe) or "choose another --out, or delete that folder",
                )
        if is_first():
            storage.write_text(self.recipe, text)

    def _recipe_here(self) -> Any:
        return read_yaml(self.recipe.read_text(encoding="utf-8-sig"))

    def refuse_moved(self, recipe: Mapping[str, Any]) -> None:
        """Raise if the recipe here, and the one to run, have paths of another machine or that no longer exist."""
        if not self.recipe.is_file():
            return
        held = dict(_texts(self._recipe_here(), ""))
        gone = {
            name: value
            for name, value in _texts(recipe, "")
            if held.get(name) == value and os.path.isabs(value) and not os.path.lexists(value)
        }
        if gone:
            raise RunError(
                f"{self.recipe} has paths that do not exist here",
                seen="; ".join(f"{name}: {value}" for name, value in gone.items()),
                next_step=f"if this folder comes from another machine, write the new paths into {self.recipe} and resume: "
                f"expunge run {self.recipe} --out {self.path}",
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder, and log at the end, however it ends, the memory of this attempt.

        Only the first of several processes locks it.
        """
        if not is_first():
            yield
            return
        with self.locked():
            try:
                yield
            finally:
                with contextlib.suppress(Exception):
                    self.log("peak", peak_memory_bytes=peak_memory_bytes(), device_peak_bytes=device_peak_bytes())

    def require(self) -> RunFolder:
        """Raise unless this is the folder of a run, and may be read."""
        with storage.reading(self.path):
            found, there = self.recipe.is_file(), self.path.is_dir()
            if found:
                self.recipe.read_bytes()
        if not found:
            why = "it has no recipe.yaml" if there else "it does not exist"
            raise RunError(
                f"{self.path} is not a run folder: {why}",
                next_step="give the folder of --out, or start a run: expunge forget TARGET --out runs/NAME",
            )
        return self

    def log(self, event: str, **values: Any) -> None:
        """Append one line to `events.jsonl`. A torn last line (from a crash) is closed first."""
        if not is_first():
            return
        line = json.dumps({"event": event, "time": round(time.time(), 3), **values}, ensure_ascii=False) + "\n"
        with storage.storage_errors(self.events), open(self.events, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(line.encode("utf-8"))
        for listener in self.listeners:
            listener(event, values)

    def read_events(self, event: str | None = None) -> Iterator[dict[str, Any]]:
        """The events in order, of one kind if named; torn lines are skipped."""
        if not self.events.is_file():
            return
        with open(self.events, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if event is None or row.get("event") == event:
                    yield row

    def steps(self, event: str) -> list[dict[str, Any]]:
        """Events that carry a `step`, one a step: later ones after a resumption or restart count."""
        rows: list[dict[str, Any]] = []
        resumed = "_".join([*event.split("_")[:-1], "resumed"])
        for row in self.read_events():
            if row.get("event") == resumed:
                while rows and rows[-1]["step"] > row["step"]:
                    rows.pop()
            elif row.get("event") == event:
                while rows and rows[-1]["step"] >= row["step"]:
                    rows.pop()
                rows.append(row)
        return rows

    def write_scores(self, scores: list[Score]) -> None:
        values = [
            {"measure": s.measure, "split": s.split, "model": s.model, "values": list(s.examples)}
            for s in scores
            if s.examples
        ]
        storage.write_json(self.scores, [score.row() for score in scores])
        storage.write_json(self.per_example, values)

    def read_scores(self) -> list[Score]:
        if not self.scores.is_file():
            raise RunError(
                f"{self.path} has no scores.json: the run is not finished",
                next_step="run the command that started it again; it resumes where it stopped",
            )
        values: dict[tuple[str, str, str], tuple[float, ...]] = {}
        if self.per_example.is_file():
            for row in storage.read_json(self.per_example):
                values[row["measure"], row["split"], row["model"]] = tuple(row["values"])
        return [
            Score(**row, examples=values.get((row["measure"], row["split"], row["model"]), ()))
            for row in storage.read_json(self.scores)
        ]


def differences(one: Any, other: Any, name: str) -> list[str]:
    """The fields in which two values differ, dotted: `training.learning_rate`; only `name` if they are not fields."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return [name] if one != other else []
    keys = dict.fromkeys([*other, *one])
    return [found for key in keys for found in differences(one.get(key), other.get(key), f"{name}.{key}")]


def _texts(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Every text in a recipe, by its dotted field."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, str):
        yield name, value


def _value(recipe: Mapping[str, Any], dotted: str) -> Any:
    value: Any = recipe
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _moved(held: Mapping[str, Any], different: list[str], recipe: Path) -> str | None:
    """The next step if the only difference is a missing path: the folder may come from another machine."""
    places = [_value(held, name) for name in different]
    if all(isinstance(place, str) and os.path.isabs(place) and not os.path.exists(place) for place in places):
        return (
            f"{places[0]} does not exist here: if the folder was begun elsewhere, write the new path into {recipe} "
            f"({', '.join(different)}) and run the same command again; else choose another --out"
        )
    return None
