"""The statement that is signed: in-toto Statement v1, whose predicate records how the model was made, as SLSA
provenance does, and its measurements. It contains no text, no path and no name of the target."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.models.digest import digest_saved
from expunge.report.audit import audit_of_run
from expunge.report.record import vouched
from expunge.runs.folder import RunFolder

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:expunge:unlearning:1"
BUILD = "urn:expunge:run:1"
SALTED = "hmac-sha256"
"HMAC-SHA256 of a sha256 (hexadecimal) under the run's salt: a short text cannot be guessed from it"
GUESSABLE = ("recipe.yaml", "anchors.yaml")
"signed files that contain mostly the target's words: salted too"
FINDING = ("kind", "title", "passed", "value", "low", "high", "limit", "bound", "unit", "n", "needs")
"fields of an audit's findings that are signed; none has text of the target"


def signed_files(folder: RunFolder, beside: Iterable[Path]) -> dict[str, str]:
    """sha256 of every file that a signature covers, by its path in the run folder. The model's card may be edited.

    Args:
        beside: further signed files of the evidence.
    """
    files = [*vouched(folder), folder.record, folder.report, folder.events, *beside]
    files += sorted(each for each in folder.audit.rglob("*") if each.is_file() and not each.name.startswith("."))
    found = {each.relative_to(folder.path).as_posix(): storage.digest_file(each) for each in files if each.is_file()}
    for place in (folder.model, folder.adapter):
        found |= {f"{place.name}/{name}": digest for name, digest in digest_saved(place).items()}
    return found


def make_statement(folder: RunFolder, record: Mapping[str, Any], beside: Iterable[Path], salt: bytes) -> dict[str, Any]:
    """The statement on a finished run.

    Args:
        record: its `record.json`.
        beside: further signed files of the evidence.
        salt: for the digests of sets, and of files whose text could be guessed.
    """
    predicate = {
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": {
                "recipe": {SALTED: salted(salt, storage.digest_file(folder.recipe))},
                "method": record["method"]["name"],
                "settings": record["method"]["settings"],
                "thresholds": record["thresholds"],
            },
            "resolvedDependencies": list(_dependencies(record["digests"], salt)),
        },
        "runDetails": {
            "builder": {"id": "urn:expunge", "version": record["versions"]},
            "metadata": when(folder),
        },
        "sets": sizes(record),
        "scores": storage.read_json(folder.scores),
        "verdict": record["verdict"],
        "cost": record["cost"],
        "notTested": record["not_tested"],
    }
    if (audit := audit_of_run(folder, record)) is not None:
        predicate["audit"] = {
            "passed": audit["passed"],
            "settings": audit["settings_digest"],
            "attacks": [each["name"] for each in audit["attacks"]],
            "findings": [{name: row[name] for name in FINDING if name in row} for row in audit["findings"]],
        }
    subject = [
        {"name": name, "digest": {SALTED: salted(salt, digest)} if name in GUESSABLE else {"sha256": digest}}
        for name, digest in signed_files(folder, beside).items()
    ]
    return {"_type": STATEMENT, "subject": subject, "predicateType": PREDICATE, "predicate": predicate}


def when(folder: RunFolder) -> dict[str, str]:
    """When a run began and ended, UTC."""
    first = next((row["time"] for row in folder.read_events() if "time" in row), None)
    last = [row["time"] for row in folder.read_events("finished")]
    times = {"startedOn": first, "finishedOn": last[-1] if last else None}
    return {
        name: datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        for name, time in times.items()
        if time is not None
    }


def salted(salt: bytes, digest: str) -> str:
    """The salted digest of something that could be guessed: a set, a recipe."""
    return hmac.new(salt, digest.encode(), "sha256").hexdigest()


def sizes(record: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Sizes of the sets; their sources are paths or words, and are left out."""
    return {
        name: {key: value for key, value in known.items() if isinstance(value, int)}
        for name, known in record["sets"].items()
        if isinstance(known, Mapping)
    }


def sets_of(digests: Mapping[str, Any]) -> dict[str, str]:
    """Recorded digests of sets, by name."""
    return {name: each for name, each in digests.items() if isinstance(each, str)}


def _dependencies(digests: Mapping[str, Any], salt: bytes) -> Iterable[dict[str, Any]]:
    for name, digest in digests["base model"].items():
        yield {"name": f"base model/{name}", "digest": {"sha256": digest}}
    for name, digest in sets_of(digests).items():
        yield {"name": name, "digest": {SALTED: salted(salt, digest)}}
