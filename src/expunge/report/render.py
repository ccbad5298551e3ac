"""`report.html`: one page, from the files of a run folder and nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from expunge import storage
from expunge.report import answers, figures, numbers, probes, wording
from expunge.report.contents import Contents, read_contents
from expunge.report.formula import as_run
from expunge.report.page import render_page
from expunge.report.scores_table import Row, gaps, rows
from expunge.report.verdict import verdict_words
from expunge.run_folder import RunFolder

FAMILIARITIES = ("familiarity_completion", "familiarity_probability", "familiarity_judged")


def render_report(folder: RunFolder) -> Path:
    """Write `report.html` of a run and return its path. Raises `RunError` unless `folder` is a run folder."""
    storage.write_text(folder.report, report_page(folder))
    return folder.report


def report_page(folder: RunFolder, name: str | None = None) -> str:
    """The report of a run as HTML; `name` is what it calls the run, the folder's name where absent.

    The page is self-contained: it loads nothing, needs no script and prints on A4. The same files give the same
    bytes. A part that is missing is named as missing. Raises `RunError` unless `folder` is a run folder.
    """
    contents = read_contents(folder)
    contents = contents if name is None else replace(contents, name=name)
    table = rows(contents.scores)
    return render_page(
        "report.html.jinja",
        run=contents,
        verdict=verdict_words(contents.part("verdict")),
        asked_and_done=_asked_and_done(contents),
        familiarity=_familiarity(contents),
        familiarity_figure=_familiarity_figure(contents),
        answer_groups=answers.groups(contents.answers),
        probes=[(probe, figures.probabilities(f"probe{i}", probe)) for i, probe in enumerate(_probes(contents))],
        losses=figures.losses("losses", contents.steps) if contents.steps else None,
        first_and_last=(contents.steps[0], contents.steps[-1]) if contents.steps else None,
        has_retain_loss=any(
            row.get(key) is not None for row in contents.steps for key in ("retain_loss", "retain_truth")
        ),
        score_groups=[
            (title, members, _dots(f"dots-{family}", title, members))
            for family, title in wording.GROUPS.items()
            if (members := [row for row in table if row.family == family])
        ],
        has={model: any(model in row.by_model for row in table) for model in wording.MODELS},
        gaps=gaps(table),
        cost=_cost(contents),
        stages=list(((contents.part("cost") or {}).get("seconds") or {}).items()),
        started=time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(contents.started)) if contents.started else None,
        digests=_flat(contents.part("digests") or {}),
        sets=_sets(contents),
        formula=as_run(contents.part("method") or {}),
    )


def _asked_and_done(contents: Contents) -> str:
    """What was done, in two or three sentences of plain words."""
    cost, sets = contents.part("cost") or {}, contents.part("sets") or {}
    method = f"The method “{wording.method(contents.method)}”"
    if contents.record is None:
        done = f"has run for {numbers.count(contents.steps[-1]['step'])} steps" if contents.steps else "has not begun"
        return f"{method} {done}. The run has not ended."
    text = f"{method} was applied to the model"
    text += f" in {numbers.count(cost['steps'])} steps" if cost.get("steps") else ""
    text += f", {numbers.seconds(cost['seconds_total'])} in all" if cost.get("seconds_total") is not None else ""
    text += "."
    sizes = [f"the {name} set has {size}" for name in ("forget", "retain") if (size := _size(sets.get(name)))]
    if sizes:
        joined = "; ".join(sizes)
        text += f" {joined[0].upper()}{joined[1:]}."
    if not contents.recipe.get("retain"):
        text += " No retain set was given: text to keep was sampled from the model itself."
    return text


def _size(part: Mapping[str, Any] | None) -> str:
    known = [(unit, (part or {}).get(unit)) for unit in ("documents", "blocks", "tokens")]
    return ", ".join(f"{numbers.count(number)} {unit}" for unit, number in known if isinstance(number, int | float))


def _familiarity(contents: Contents) -> list[dict[str, Any]]:
    found = []
    for name in FAMILIARITIES:
        before, after = contents.score(name, "base"), contents.score(name, "unlearned")
        if before is None:
            continue
        row = next(row for row in rows(contents.scores) if row.measure == name and row.split == before.split)
        less = None if after is None or before.value <= 0 else 1 - after.value / before.value
        found.append({"row": row, "words": wording.measure(name), "less": less})
    return found


def _familiarity_figure(contents: Contents) -> Markup | None:
    measures = [(part["words"].name, part["row"].by_model) for part in _familiarity(contents)]
    return figures.familiarity("familiarity", measures) if measures else None


def _probes(contents: Contents) -> list[probes.Probe]:
    return [probe for probe in probes.probes(contents.probes) if probe.tokens]


def _dots(name: str, title: str, members: list[Row]) -> Markup:
    drawn = figures.panels((row.label, row.unit, row.words.percent, row.by_model) for row in members)
    models = {m: dot for m, dot in figures.MODEL_DOTS.items() if any(m in row.by_model for row in members)}
    return figures.dots(name, title, drawn, models)


def _cost(contents: Contents) -> list[tuple[str, str]]:
    cost = contents.part("cost")
    if not cost:
        return []
    share, of_time = cost.get("share_of_retraining"), cost.get("share_of_retraining_seconds")
    speed = cost.get("tokens_per_second")
    return [
        ("Time in all", numbers.seconds(cost.get("seconds_total"))),
        ("Unlearning ended", str(contents.part("stopped") or "not recorded")),
        ("Steps of unlearning", numbers.UNKNOWN if cost.get("steps") is None else numbers.count(cost["steps"])),
        ("Speed of unlearning", numbers.UNKNOWN if speed is None else f"{numbers.count(speed)} tokens a second"),
        ("Peak memory", numbers.bytes_(cost.get("peak_memory_bytes"))),
        ("Tokens trained on, of those of retraining", "not known" if share is None else numbers.share(share)),
        ("Time, of that of retraining", "not known" if of_time is None else numbers.share(of_time)),
    ]


def _sets(contents: Contents) -> list[tuple[str, str, str]]:
    """(set, property, value) of everything the record says about the sets."""
    found = []
    for name, properties in (contents.part("sets") or {}).items():
        for key, value in _flat(properties):
            set_name = "general text to keep" if name == "general" else wording.split(name)
            found.append((set_name, wording.readable(key), _printed(value)))
    return found


def _printed(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return numbers.count(value) if float(value).is_integer() else numbers.plain(value)
    return str(value)


def _flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as (path, value) pairs."""
    if isinstance(value, Mapping):
        return [pair for key, inner in value.items() for pair in _flat(inner, f"{name} / {key}" if name else str(key))]
    return [(name, value)]
