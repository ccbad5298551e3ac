"""Suites of questions side by side: their models, and models evaluated with their questions, by OpenUnlearning, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import RunError
from expunge.report.compare import names_of, text_table
from expunge.report.page import render_page
from expunge.runs.folder import RunFolder
from expunge.runs.suite import suite_of
from expunge.suites.tofu.evaluate import read_evaluated
from expunge.suites.tofu.openunlearning import read_evaluation
from expunge.suites.tofu.report import (
    as_control,
    best_first,
    called,
    controls_of,
    heading,
    read_figures,
    references,
    shown,
    unfinished,
)
from expunge.suites.tofu.suite import SUITE
from expunge.suites.tofu.words import MAIN, TUNED

COLUMNS = (
    *MAIN,
    "forget/extraction_strength_openunlearning",
    "forget/exact_memorization",
    *(f"{split}/rouge_l_f1" for split in ("verbmem", "forget_qa", "retain_qa")),
    "verbmem/extraction_strength_openunlearning",
    "verbmem/exact_memorization",
)
CAUTION = (
    "Models of different folders and files were taught, asked and prompted in their own ways; where these differ, the "
    "figures of equal models may differ, too."
)


@dataclass(frozen=True)
class QuestionsComparison:
    """Models and their measures: `rows` has (model, (value, interval) of each column)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    unfinished: tuple[str, ...] = ()
    "progress of unfinished suites"

    @property
    def caution(self) -> str:
        """Caveats for the reader."""
        marked = any(name.endswith("(tuned)") for name, _ in self.rows)
        return " ".join([CAUTION, *([f"{TUNED}."] if marked else []), *self.unfinished])

    def row(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        models = [
            {"model": name, **dict(zip(self.columns, map(list, pairs), strict=True))} for name, pairs in self.rows
        ]
        return {"columns": list(self.columns), "models": models}

    def __str__(self) -> str:
        """The comparison as plain text."""
        body = [[name, *(" ".join(part for part in pair if part) for pair in pairs)] for name, pairs in self.rows]
        return "\n".join([text_table([["model", *map(heading, self.columns)], *body]), self.caution])


def compare_questions(folders: Sequence[RunFolder], out: Path | None = None) -> QuestionsComparison:
    """Compare suites of questions, and files of OpenUnlearning; with `out`, also write it as a page.

    Raises:
        RunError: a folder that is not a suite's of this kind, or a suite that has not ended.
        DataError: a file that is no evaluation by OpenUnlearning.
    """
    models: list[tuple[str, Mapping[str, Any]]] = []
    so_far: list[str] = []
    for name, folder in zip(names_of(folders), folders, strict=True):
        made_by = suite_of(folder.path)
        if folder.path.is_file():
            if made_by is None:
                models.append((name, read_evaluation(folder.path)))
            else:
                models += [(f"{name}: {who}", measures) for who, measures in read_evaluated(folder.path)]
            continue
        if made_by is None or made_by.compare != SUITE.compare:
            raise RunError(
                f"{folder.path} has no suite of questions",
                allowed="folders of `expunge suite tofu` or another suite of questions, files of `expunge evaluate --suite`, "
                "and OpenUnlearning's TOFU_EVAL.json or MUSE_EVAL.json",
            )
        figures = read_figures(folder)
        if sentence := unfinished(figures):
            so_far.append(f"{name} has not ended: {sentence}.")
        models += [(f"{name}: {who}", measures) for who, measures in references(figures)]
        models += [(f"{name}: {as_control(row)}", row["measures"]) for row in controls_of(figures)]
        models += [(f"{name}: {called(row)}", row["measures"]) for row in best_first(figures)]
    columns = tuple(each for each in COLUMNS if any(each in measures for _, measures in models))
    rows = tuple((name, tuple(shown(measures.get(each), each) for each in columns)) for name, measures in models)
    comparison = QuestionsComparison(columns, rows, tuple(so_far))
    if out is not None:
        page = render_page(
            "compare_questions.html.jinja", comparison=comparison, heading=heading, caution=comparison.caution
        )
        storage.write_text(out, page)
    return comparison
