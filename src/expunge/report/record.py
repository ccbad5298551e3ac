"""The record of a run: settings, inputs, cost, verdict; and whether files are still those recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.core import storage
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.format import FORMAT
from expunge.runs.kind import Evidence
from expunge.runs.versions import newer_versions, versions

if TYPE_CHECKING:
    from expunge.runs.method import Method
    from expunge.runs.story import Outcome


def vouched(folder: RunFolder) -> tuple[Path, ...]:
    """The files whose digests the record holds; the report is made from them and the record."""
    return folder.recipe, folder.scores, folder.per_example, folder.answers, folder.toxicity, folder.anchors


def changed_since(folder: RunFolder, record: Mapping[str, Any] | None) -> list[str] | None:
    """Names of the files of scores and answers that differ from the record; None if it has no digests.

    The whole folder is checked by `expunge verify`.
    """
    digests = (record or {}).get("digests")
    files = digests.get("files") if isinstance(digests, Mapping) else None
    if not isinstance(files, Mapping):
        return None
    return [
        path.name
        for path in (folder.scores, folder.per_example, folder.answers, folder.toxicity)
        if files.get(path.name) != (storage.digest_file(path) if path.is_file() else None)
    ]


def make_record(
    run: Run[Any], evidence: Evidence, method: Method, outcome: Outcome, trained: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of `record.json`; `trained` was noted when the model was saved, with the digests of its files.

    Thresholds and versions are those with which the model was trained, even if it is measured again.
    """
    folder, recipe, scores = run.folder, run.recipe, outcome.scores
    # through the class, so that a threshold added in a later version counts as not set
    fixed = recipe.verdict.model_dump()
    thresholds = type(recipe.verdict)(**trained.get("thresholds", fixed)).model_dump()
    used = trained.get("versions", versions())
    files = {path.name: storage.digest_file(path) for path in vouched(folder) if path.is_file()}
    warnings = list(outcome.notes)
    if (anchors := trained.get("anchors")) is not None and files.get(folder.anchors.name) != anchors:
        files[folder.anchors.name] = anchors
        warnings.append(
            "anchors.yaml was edited in the run folder, but the labels come from the earlier terms; to use it, give "
            "--anchors with its path and another --out"
        )
    warnings = list(dict.fromkeys(warnings))
    if thresholds != fixed:
        warnings.append("the thresholds in recipe.yaml were changed after the training; the earlier ones count")
    record = {
        "thresholds": thresholds,
        "cost": evidence.cost(folder, recipe, trained),
        "method": {
            "name": recipe.method["name"],
            "settings": method.model_dump(),
            "citation": method.citation(),
            "formula": method.formulas(),
        },
        "sets": outcome.sets,
        "versions": used,
        "digests": {"base model": outcome.base.digests, "model": trained["files"], **outcome.digests, "files": files},
        "license": None,
        "not_tested": evidence.not_tested(scores),
        "warnings": [*warnings, *newer_versions(used)],
        **outcome.record,
    }
    verdict = evidence.judge(scores, thresholds, record)
    record["warnings"] += evidence.remarks(scores, verdict)
    head = {
        "format": FORMAT,
        "name": folder.path.resolve().name,
        "title": evidence.title(recipe),
        "verdict": verdict,
    }
    return head | record
