"""`report.html`: one page, from the files of a run folder and nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from expunge.core import storage
from expunge.errors import RunError
from expunge.report import figures, numbers, wording
from expunge.report.audit import audit_of_run, audit_part, conclusive_attacks
from expunge.report.contents import Contents, read_contents
from expunge.report.formula import as_run
from expunge.report.mathml import set_formulas
from expunge.report.page import render_page
from expunge.report.record import changed_since
from expunge.report.scores_table import Row, gaps, rows, without_details
from expunge.report.verdict_words import verdict_words
from expunge.runs.folder import RunFolder
from expunge.runs.format import read_record
from expunge.runs.kind import Evidence
from expunge.runs.kinds import kinds_of


def render_report(folder: RunFolder) -> Path:
    """Write `report.html` of a run and return its path.

    Raises:
        RunError: no run folder; or one whose run has ended, and whose record was removed since.
    """
    whole = isinstance((read_record(folder.record) or {}).get("verdict"), Mapping)
    if not whole and folder.report.is_file() and any(folder.read_events("finished")):
        raise RunError(
            f"{folder.path} has no whole record.json: it was removed or damaged, and a report without it would "
            "contain less than the present one",
            next_step="run the command that started it again; it restores the missing files from the folder",
        )
    storage.write_text(folder.report, report_page(folder))
    return folder.report


def report_page(folder: RunFolder, name: str | None = None) -> str:
    """The report of a run as HTML; `name` is the run's name in it; default: the folder's name.

    The page is self-contained: it loads nothing, needs no script and prints on A4. The same files give the same
    bytes. Missing parts are listed as missing. Raises `RunError` unless `folder` is a run folder.
    """
    contents = read_contents(folder)
    contents = contents if name is None else replace(contents, name=name)
    table = without_details(rows(contents.scores))
    kinds = kinds_of(contents.task)
    evidence, audited = kinds[0].make_evidence(), audit_of_run(folder, contents.record)
    return render_page(
        evidence.template,
        **evidence.sections(contents, folder),
        limits=evidence.limits,
        run=contents,
        verdict=verdict_words(
            contents.part("verdict"),
            retrained=any(score.model == "retrained" for score in contents.scores),
            later=contents.measured_later,
        ),
        not_tested=_not_tested(contents, evidence, audited),
        audit=None if audited is None else audit_part(audited),
        unaudited=audited is None and any(kind.audit is not None for kind in kinds),
        changed=changed_since(folder, contents.record) or [],
        score_groups=[
            (title, members, _dots(f"dots-{family}", title, members))
            for family, title in wording.GROUPS.items()
            if (members := [row for row in table if row.family == family])
        ],
        has={model: any(model in row.by_model for row in table) for model in wording.MODELS},
        gaps=gaps(table, benchmarks=evidence.benchmarks),
        stages=list(((contents.part("cost") or {}).get("seconds") or {}).items()),
        started=time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(contents.started)) if contents.started else None,
        digests=_flat(contents.part("digests") or {}),
        sets=_sets(contents),
        formula=set_formulas(as_run(contents.part("method") or {})),
    )


def _not_tested(contents: Contents, evidence: Evidence, audited: Mapping[str, Any] | None) -> list[str]:
    """What neither the run nor its audit tested."""
    lines = contents.part("not_tested") or [wording.MISSING["not_tested"]]
    tested = [] if audited is None else evidence.tested_by(conclusive_attacks(audited))
    return [line for line in lines if line not in tested]


def _dots(name: str, title: str, members: list[Row]) -> Markup:
    drawn = figures.panels((row.label, row.unit, row.words.percent, row.by_model) for row in members)
    models = {m: dot for m, dot in figures.MODEL_DOTS.items() if any(m in row.by_model for row in members)}
    return figures.dots(name, title, drawn, models)


def _sets(contents: Contents) -> list[tuple[str, str, str]]:
    """(set, property, value) of everything the record says about the sets."""
    found = []
    for name, properties in (contents.part("sets") or {}).items():
        for key, value in _flat(properties):
            set_name = "general text to retain" if name == "general" else wording.split(name)
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
