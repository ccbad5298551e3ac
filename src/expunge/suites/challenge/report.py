"""`report.html` of a contest, from its folder, and from the pictures if the data is still on this machine."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from expunge.core import storage
from expunge.errors import DataError, RunError
from expunge.measures.privacy.challenge import ENOUGH
from expunge.measures.privacy.confidence import logit_scaled_confidence
from expunge.measures.privacy.membership import NOTE
from expunge.report import numbers, wording
from expunge.report.page import render_page
from expunge.runs.folder import RunFolder
from expunge.suites.challenge import plots as contest_plots
from expunge.suites.challenge.faces import faces
from expunge.suites.challenge.plots import Panel
from expunge.suites.challenge.suite import FIGURES, RESULTS, RETRAINED

SHOWN = 12
"number of pictures shown, those that leak most"
DRAWN = 3
"number of methods, the best, whose confidences are drawn"
SEPARATED = 50.0
"epsilon of models that an attack separates without an error"


@dataclass(frozen=True)
class Leak:
    """A forgotten picture and the leak of its confidences."""

    name: str
    kind: str | None
    face: str | None
    largest: float
    by: str
    "the method with the largest epsilon"
    median: float
    "over the methods"
    ceiling: float
    "the epsilon of independently retrained models"


def read_figures(folder: RunFolder) -> dict[str, Any]:
    """The content of `contest.json`. Raises `RunError` if the contest has not ended."""
    path = folder.path / FIGURES
    if not path.is_file():
        raise RunError(
            f"{folder.path} has no {FIGURES}: the contest has not ended",
            next_step="run the command that started it again; it resumes where it stopped",
        )
    figures: dict[str, Any] = storage.read_json(path)
    return figures


def read_recipe(folder: RunFolder) -> tuple[str, dict[str, Any]]:
    """The recipe's text and its fields; none if damaged."""
    text = folder.recipe.read_text(encoding="utf-8", errors="replace")
    loaded = yaml.safe_load(text)
    return text, loaded if isinstance(loaded, dict) else {}


def render_contest(folder: RunFolder) -> Path:
    """Write `report.html` of a contest and return its path. Raises `RunError` if it has no figures yet."""
    storage.write_text(folder.report, contest_page(folder))
    return folder.report


def contest_page(folder: RunFolder) -> str:
    """The page of a contest as HTML: it loads nothing, needs no script, prints on A4; equal files give equal bytes.

    Raises:
        RunError: `folder` is not a contest's folder, or the contest has not ended.
    """
    figures = read_figures(folder.require())
    text, recipe = read_recipe(folder)
    rows, ceiling, models = figures["methods"], figures["ceiling"], int(figures["models"])
    diverged = figures.get("diverged", [])
    known = models >= ENOUGH
    return render_page(
        "contest.html.jinja",
        name=folder.path.resolve().name,
        recipe=recipe,
        recipe_text=text,
        figures=figures,
        rows=rows,
        diverged=diverged,
        known=known,
        best=next((row for row in rows if not row["over_budget"]), None),
        citations={row["name"]: wording.title(row.get("citation") or "") for row in [*rows, *diverged]},
        estimate=estimate,
        epsilon=epsilon,
        population_note=NOTE,
        notes=[*figures.get("notes", []), *_notes(rows)],
        quality=contest_plots.quality("quality", rows, ceiling, known) if rows else None,
        epsilons=contest_plots.epsilons("epsilons", rows, ceiling, models) if rows else None,
        leaks=leaks(figures, recipe) if rows else [],
        confidences=_confidences(folder.path / RESULTS, figures),
        settings=[(row["name"], _settings(row.get("settings") or {})) for row in [*rows, *diverged]],
    )


def estimate(found: Mapping[str, float | None] | None, digits: int = 3) -> tuple[str, str]:
    """(value, interval) of an estimate, formatted; without an interval if a limit is unknown."""
    if found is None or found["value"] is None:
        return "–", ""
    low, high = found["low"], found["high"]
    limits = "" if low is None or high is None else f"[{numbers.fixed(low, digits)}, {numbers.fixed(high, digits)}]"
    return numbers.fixed(found["value"], digits), limits


def epsilon(value: float) -> str:
    return "∞" if value >= SEPARATED else numbers.fixed(value, 2)


def leaks(figures: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[Leak]:
    """The pictures with the largest epsilon over all methods; ties by the number of methods that leak them."""
    rows = figures["methods"]
    table = np.array([row["epsilons"] for row in rows], dtype=float)
    largest, median = table.max(0), np.median(table, 0)
    order = np.lexsort((np.arange(table.shape[1]), -table.mean(0), -largest))[:SHOWN]
    ids = list(map(str, figures["forget_ids"]))
    labels, classes = figures.get("forget_labels"), figures.get("classes")
    kinds = [None] * len(ids) if labels is None or classes is None else [str(classes[label]) for label in labels]
    found = faces(recipe, {ids[i]: kinds[i] for i in order})
    return [
        Leak(
            name=ids[i],
            kind=kinds[i],
            face=found.get(ids[i]),
            largest=float(largest[i]),
            by=str(rows[int(table[:, i].argmax())]["name"]),
            median=float(median[i]),
            ceiling=float(figures["ceiling"]["epsilons"][i]),
        )
        for i in order
    ]


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Notes on single methods; a note shared by all is given once, without names."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for note in row.get("notes", []):
            found.setdefault(note, []).append(row["name"])
    return [note if len(names) == len(rows) else f"{', '.join(names)}: {note}" for note, names in found.items()]


def _confidences(results: Path, figures: Mapping[str, Any]) -> Markup | None:
    """The leakiest and the median picture of the best methods; None if some of the models' outputs are missing."""
    labels, models = figures.get("forget_labels"), int(figures["models"])
    if labels is None or not figures["methods"]:
        return None
    try:
        theirs = confidences(results / RETRAINED, models, labels)
        lines = []
        for row in figures["methods"][:DRAWN]:
            ours = confidences(results / row["group"], models, labels)
            order = np.argsort(np.asarray(row["epsilons"]), kind="stable")
            panels = []
            for which, i in (("leakiest", order[-1]), ("median", order[len(order) // 2])):
                title = f"{which}: {figures['forget_ids'][i]}, ε {epsilon(row['epsilons'][i])}"
                panels.append(Panel(title, ours[:, i], theirs[:, i]))
            lines.append((str(row["name"]), panels))
    except PermissionError as error:
        raise storage.unreadable(error) from error
    except (OSError, EOFError, KeyError, ValueError, IndexError, DataError, zipfile.BadZipFile):  # gone or damaged
        return None
    return contest_plots.pictures("pictures", lines)


def confidences(group: Path, models: int, labels: Sequence[int]) -> np.ndarray:
    """(models, pictures) logit-scaled confidences in the labels of the forget set, of a group's first models."""
    found = []
    for seed in range(models):
        with np.load(group / f"{seed:04d}.npz", allow_pickle=False) as stored:
            found.append(logit_scaled_confidence(stored["logits_forget"], np.asarray(labels)))
    return np.stack(found)


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A method's non-default settings in the contest."""
    own = {key: value for key, value in (settings.get("method") or {}).items() if key != "name"}
    return [*own.items(), *(settings.get("unlearning") or {}).items()]
