"""Which model came from which, and which copies may still contain the data of a request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import RunError
from expunge.models.digest import digest_saved
from expunge.requests.ledger import Ledger


def model_digest(files: Mapping[str, str]) -> str:
    """One digest of a model's files; its card is left out. That of an adapter covers its base."""
    return storage.digest_value({name: digest for name, digest in files.items() if not name.endswith(".md")})


def model_folder(path: Path) -> Path:
    """The folder of a model, given itself or by its run. Raises `RunError` if there is no model."""
    folder = path / "model" if (path / "model").is_dir() else path
    if not digest_saved(folder):
        raise RunError(f"there is no model in {path}", next_step="name the folder of a model, or of a run")
    return folder


def lineage(ledger: Ledger) -> dict[str, str]:
    """digest of a model -> digest of the one it came from, for all finished runs."""
    rows = ledger.chain.events("kind IN ('passed', 'failed')")
    return {each.content["model"]: each.content["parent"] for each in rows}


def ancestors(parents: Mapping[str, str], model: str) -> list[str]:
    """The models that one came from, the nearest first."""
    found: list[str] = []
    while (parent := parents.get(model)) is not None and parent not in found:
        found.append(parent)
        model = parent
    return found


def forgot(ledger: Ledger, number: int) -> set[str]:
    """Models that have forgotten a request: that of its last run, if it passed, and all that came from it, except a
    model in which it came back, and those that came from that one."""
    events = ledger.events_of(number)
    passed = next((each for each in reversed(events) if each.kind == "passed"), None)
    if passed is None:
        return set()
    parents = lineage(ledger)

    def line(model: str) -> set[str]:
        return {model} | {each for each in parents if model in ancestors(parents, each)}

    back = [each for each in events if each.kind == "returned" and each.seq > passed.seq]
    return line(passed.content["model"]).difference(*(line(each.content["model"]) for each in back))


def _digests_of(ledger: Ledger, models: set[str]) -> set[str]:
    """The digests of models, and those of their saved parts: an adapter without its base."""
    rows = [each.content for each in ledger.chain.events("kind IN ('passed', 'failed')")]
    others = {row["saved"] for row in rows if row["model"] not in models}
    return models | ({row["saved"] for row in rows if row["model"] in models} - others)


def copies_to_tell(ledger: Ledger, number: int) -> list[dict[str, Any]]:
    """Every noted copy of a model that has not forgotten a request, and whether its holder was informed."""
    clean = _digests_of(ledger, forgot(ledger, number))
    told = {each.content["copy"]: each.at for each in ledger.events_of(number) if each.kind == "told"}
    rows = [{"copy": each.seq, **each.content, "told": told.get(each.seq)} for each in ledger.copies()]
    return [row for row in rows if row["model"] not in clean]
