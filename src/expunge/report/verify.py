"""Check a run folder against its record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import ExpungeError, RunError
from expunge.models.digest import INDEX, digest_model, digest_saved
from expunge.report.audit import audit_follows, audit_of_run, audit_page, read_audit
from expunge.report.record import vouched
from expunge.report.render import report_page
from expunge.runs.extras import missing
from expunge.runs.folder import RunFolder
from expunge.runs.format import FORMAT, read_record
from expunge.runs.kind import Evidence
from expunge.runs.kinds import main_kind, read_recipe
from expunge.runs.recipe import BaseRecipe
from expunge.runs.versions import PAGE_PACKAGES, versions

PARTS = ("digests", "verdict", "versions", "cost")
"mappings that every record has"
MODELS, FILES = ("model", "base model"), ("files", "toxicity prompts")
"mappings of digests: those that every record has, and optional ones"

JUDGING = ("expunge",)
"packages that a verdict depends on, in addition to the scores"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check; `ok` is None if it could not be made."""

    what: str
    ok: bool | None


def verify_run(folder: RunFolder) -> list[Finding]:
    """Compare the model, the files, the sets, the verdict and the report with `record.json`.

    It shows that the folder is unchanged since the record was written, not that the record is true: write access to the
    folder is write access to the record. Files that cannot be checked, or that the record lacks, are findings.

    Raises:
        RunError: there is no record.
        StorageError: it, or a file that it names, cannot be read.
    """
    with storage.reading(folder.path):
        return _findings(folder)


def _findings(folder: RunFolder) -> list[Finding]:
    record, recipe = read_whole_record(folder), read_recipe(folder.recipe)
    evidence = main_kind(recipe).make_evidence()
    damaged = [name for name in PARTS if not isinstance(record.get(name), dict)]
    digests = {} if "digests" in damaged else record["digests"]
    if digests:
        models = [name for name in MODELS if not isinstance(digests.get(name), dict)]
        files = [name for name in FILES if not isinstance(digests.get(name, {}), dict)]
        damaged += [f"digests / {name}" for name in (*models, *files)]
        # Damage is reported once, without the findings that follow from it.
        digests = {name: value for name, value in digests.items() if name not in (*models, *files)}
    names = [path.name for path in vouched(folder) if path.is_file() or path.name in digests.get("files", {})]
    return [
        *(Finding(f"record.json: {name} is missing or damaged", False) for name in damaged),
        *(_files("model/", digests["model"], digest_saved(folder.model)) if "model" in digests else ()),
        Finding("model/README.md: a card may be edited", None),
        *(_base_model(folder, recipe, digests["base model"]) if "base model" in digests else ()),
        *(_result(folder.path / name, digests.get("files", {})) for name in names),
        *(Finding(what, ok) for what, ok in evidence.check_inputs(folder, recipe, record | {"digests": digests})),
        _verdict(folder, evidence, record, missing(recipe)),
        _report(folder, record, missing(recipe)),
        *_audit(folder, record),
        Finding("events.jsonl and stages/: the run's own notes; a stage's name says what it was made from", None),
    ]


def read_whole_record(folder: RunFolder) -> dict[str, Any]:
    """The record of a finished run. Raises `RunError` if there is none."""
    if not folder.record.is_file():
        ended = any(folder.read_events("finished"))
        raise RunError(
            f"{folder.path} has no record.json: " + ("it was removed" if ended else "the run is not finished"),
            next_step="run the command that started it again; "
            + ("it rewrites the record" if ended else "it resumes where it stopped"),
        )
    return read_record(folder.record) or {}


def _same(what: str, same: bool) -> Finding:
    return Finding(f"{what} {'has' if same else 'does not have'} the recorded digest", same)


def _files(place: str, listed: Mapping[str, str], here: Mapping[str, str]) -> Iterable[Finding]:
    for name in sorted({*listed, *here}):
        if name not in here:
            yield Finding(f"{place}{name} is missing", False)
        elif name not in listed:
            yield Finding(f"{place}{name} is not in the record", False)
        else:
            yield _same(f"{place}{name}", here[name] == listed[name])


def _base_model(folder: RunFolder, recipe: BaseRecipe, listed: Mapping[str, str]) -> Iterable[Finding]:
    places = [Path(recipe.model), Path(recipe.model) / "model", *folder.stages.glob("*-base-*/model")]
    place = next((place for place in places if (place / "config.json").is_file() or (place / INDEX).is_file()), None)
    if place is None:
        yield Finding(f"the base model {recipe.model}: the folder does not exist", None)
        return
    here = digest_model(place)
    wrong = sorted(name for name in {*listed, *here} if listed.get(name) != here.get(name) and not name.endswith(".md"))
    yield _same(f"the base model {recipe.model}" + (f" ({', '.join(wrong)})" if wrong else ""), not wrong)


def _result(path: Path, listed: Mapping[str, str]) -> Finding:
    if path.name not in listed:
        return Finding(f"{path.name}: it is not in the record", None)
    if not path.is_file():
        return Finding(f"{path.name} is missing", False)
    return _same(path.name, storage.digest_file(path) == listed[path.name])


def _verdict(folder: RunFolder, evidence: Evidence, record: Mapping[str, Any], lacking: Sequence[str]) -> Finding:
    if lacking:
        return Finding(f"the verdict: measures of packages that are not installed: {', '.join(lacking)}", None)
    if not folder.scores.is_file() or "thresholds" not in record:
        return Finding("the verdict: scores.json or the thresholds in the record are missing", None)
    if not _same_version(record, JUDGING):
        return Finding("the verdict: another version of expunge judged", None)
    try:
        scores, thresholds = folder.read_scores(), record["thresholds"]
        found = evidence.judge(scores, thresholds, record)
        same = found == record["verdict"]
    except (ExpungeError, KeyError, TypeError, ValueError):
        same = False
    return Finding(
        f"the verdict {'follows' if same else 'does not follow'} from scores.json and the recorded thresholds", same
    )


def _audit(folder: RunFolder, record: Mapping[str, Any]) -> Iterable[Finding]:
    """Check that an audit is of this model and by the fixed limits, and that its page and verdict follow from its
    findings."""
    found = read_audit(folder)
    if found is None:
        if folder.audit.is_dir():
            yield Finding("audit/: an unfinished audit", None)
        return
    own = audit_of_run(folder, record) is not None
    yield Finding(f"audit/audit.json is of {'this' if own else 'another'} model", own)
    try:
        fixed = storage.read_json(folder.audit / "settings.json")
        digest = storage.digest_value(found["settings"])
        same = digest == found["settings_digest"] == fixed["digest"]
        yield Finding(f"the audit's limits are {'those' if same else 'not those'} that were fixed before it", same)
        if not _same_version(found, JUDGING):
            yield Finding("the audit's verdict: another version of expunge judged", None)
        else:
            follows = audit_follows(found)
            yield Finding(f"the audit's verdict {'follows' if follows else 'does not follow'} from its values", follows)
        if not _same_version(found, (*JUDGING, *PAGE_PACKAGES)):
            yield Finding("audit/report.html: another version of expunge, or of its page libraries, wrote it", None)
            return
        page = (folder.audit / "report.html").read_text(encoding="utf-8") == audit_page(found)
        yield Finding(f"audit/report.html {'is' if page else 'is not'} what audit/audit.json makes", page)
    except (ExpungeError, KeyError, TypeError, ValueError, OSError, AttributeError):
        yield Finding("audit/: its files are missing or damaged", False)


def _same_version(record: Mapping[str, Any], packages: Iterable[str]) -> bool:
    used, now = record.get("versions"), versions()
    return not isinstance(used, dict) or all(used.get(name) == now.get(name) for name in packages)


def _report(folder: RunFolder, record: Mapping[str, Any], lacking: Sequence[str]) -> Finding:
    if not folder.report.is_file():
        return Finding("report.html is missing", False)
    if lacking:
        return Finding("report.html: it has the words of measures of packages that are not installed", None)
    if not isinstance(record.get("versions"), dict):
        return Finding("report.html: the record does not say which version wrote it", None)
    if record.get("written_as") != FORMAT:
        return Finding("report.html: an older version of expunge wrote it; `expunge report` writes it again", None)
    if not _same_version(record, (*JUDGING, *PAGE_PACKAGES)):
        return Finding("report.html: another version of expunge, or of its page libraries, wrote it", None)
    try:
        # Rewritten after the folder was renamed, it has the new name.
        written = folder.report.read_text(encoding="utf-8")
        same = any(report_page(folder, name) == written for name in (record["name"], None))
    except Exception as error:  # a damaged record, or answers, can break it anywhere
        if any(isinstance(each, PermissionError) for each in (error, error.__cause__)):
            raise
        same = False
    return Finding(f"report.html {'is' if same else 'is not'} what the folder's other files make", same)
