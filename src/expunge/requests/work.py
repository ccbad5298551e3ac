"""Runs that answer requests: one after another, or several in one; each noted with its run folder and its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge import spine
from expunge.core import storage
from expunge.core.progress import Silent
from expunge.data.text.file_kinds import known_endings
from expunge.errors import DataError, RecipeError, RunError
from expunge.kinds.language.recipe import Recipe
from expunge.models.digest import digest_saved
from expunge.models.folders import is_adapter
from expunge.requests.attacking import Attacks, attacked
from expunge.requests.earlier import earlier_runs, measure_earlier
from expunge.requests.ledger import Ledger, Request
from expunge.requests.lineage import model_digest
from expunge.requests.order import newest_passed
from expunge.requests.private import salted_file
from expunge.requests.reading import refuse_unread
from expunge.requests.states import name_of
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import read_recipe
from expunge.runs.recipe import BaseRecipe


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that one run answers.

    Attributes:
        name: name of the run; it contains only the requests' ids.
        begun: the folder of the run begun for them; None if none was.
    """

    name: str
    numbers: tuple[int, ...]
    begun: Path | None = None


def nameless(ledger: Ledger, requests: Sequence[Request]) -> list[Request]:
    """Those that were added without a file, and cannot be run."""
    return [each for each in requests if not (ledger.last(each.number, "added") or {}).get("files")]


def batches(ledger: Ledger, requests: Sequence[Request], pool: bool) -> list[Batch]:
    """The batches to run: begun ones first, with all their requests, then the others."""
    begun: dict[str, Path] = {}
    for each in requests:
        if each.state == "running":
            started = ledger.last(each.number, "started")
            assert started is not None
            begun[started["name"]] = Path(started["run"])
    found = [Batch(name, tuple(ledger.running_as(name)), path) for name, path in begun.items()]
    others = [each.number for each in requests if each.state in ("open", "failed")]
    groups = [others] if pool and others else [[each] for each in others]
    return found + [Batch(_name(ledger, group), tuple(group)) for group in groups]


def _name(ledger: Ledger, numbers: Sequence[int]) -> str:
    """R000003; for several R000003-R000009-1a2b3c4d; with the number of the attempt after one that failed."""
    name = name_of(numbers[0])
    if len(numbers) > 1:
        name += f"-{name_of(numbers[-1])}-{storage.digest_value(list(numbers))[:8]}"
    taken = {each.content["name"] for each in ledger.chain.events("kind = 'started'")}
    tried = 1
    while (full := name if tried == 1 else f"{name}-{tried}") in taken:
        tried += 1
    return full


def run_batch(
    ledger: Ledger,
    batch: Batch,
    recipe: Path,
    overrides: Mapping[str, Any],
    out: Path,
    show: Silent | None = None,
    attacks: Attacks | None = None,
) -> RunFolder:
    """Run a batch to the end, and note it; a batch that was begun resumes with the recipe in its folder.

    A run starts from the newest model that passed, of those that came from the recipe's base model, so that earlier
    requests stay forgotten. A model that passes is measured on the forget sets of the earlier ones, too: those that
    came back are no longer passed.

    Args:
        attacks: attacks that its model must withstand, for its own requests and for the earlier ones; None: none.

    Raises:
        DataError: a file that has changed, or that the run would not read; before the run is noted.
    """
    files = _files(ledger, batch)
    folder = RunFolder(batch.begun or (out / batch.name).absolute())
    if batch.begun is None and folder.path.exists():
        raise RunError(
            f"{folder.path} already exists, and does not belong to this ledger",
            next_step="give --out with a separate folder for this ledger's runs",
        )
    target = ledger.private.lay_out(batch.name, files).absolute()
    begins: dict[str, str | None] = {}
    if batch.begun is not None and folder.recipe.is_file():
        made = read_recipe(folder.recipe)
    else:
        made, begins = make_recipe(ledger, recipe, overrides, target, [name for name, _ in files])
    if attacks is not None:
        attacks.refuse_misspelt(made)
    if isinstance(made, Recipe):
        refuse_unread(target, files, made.data.read_by("forget"))
    if batch.begun is None:
        ledger.note("started", batch.numbers, {"name": batch.name, "run": str(folder.path), **begins})
    spine.run(made, folder.path, show)
    record = storage.read_json(folder.record)
    saved, base_files = digest_saved(folder.model), record["digests"]["base model"]
    whole = (
        base_files | {f"adapter/{name}": each for name, each in saved.items()} if is_adapter(folder.model) else saved
    )
    body: dict[str, Any] = {
        "name": batch.name,
        "model": model_digest(whole),
        "saved": model_digest(saved),
        "parent": model_digest(base_files),
        "record": storage.digest_file(folder.record),
    }
    audit = attacked(folder, attacks, show) if attacks is not None and record["verdict"]["passed"] else None
    if audit is not None:
        body["audit"] = audit.row()
        (show or Silent()).say(f"{', '.join(map(name_of, batch.numbers))}: {audit.words}")
    if not record["verdict"]["passed"] or (audit is not None and audit.passed is False):
        ledger.note("failed", batch.numbers, body)
        return folder
    started = ledger.last(batch.numbers[0], "started")
    assert started is not None
    earlier = measure_earlier(earlier_runs(ledger, started["base"], batch.name), folder, show, attacks)
    for each in earlier:
        (show or Silent()).say(each.words)
    ledger.note("passed", batch.numbers, {**body, "earlier": [each.row() for each in earlier]})
    return folder


def make_recipe(
    ledger: Ledger, path: Path, overrides: Mapping[str, Any], target: Path, names: Sequence[str]
) -> tuple[BaseRecipe, dict[str, str | None]]:
    """(the recipe of a run; `base`: the model that its requests have in common with earlier ones, and `from`: the
    digest of the newest model that came from it, which the run starts from)."""
    plain = read_recipe(path, {**overrides, "forget": str(target)})
    base = str(Path(plain.model).absolute()) if Path(plain.model).exists() else plain.model
    fields: dict[str, Any] = dict(overrides)
    newest, digest = newest_model(ledger, base)
    if newest is not None:
        fields["model"] = str(newest)
    if isinstance(plain, Recipe):
        if (kind := fields.get("forget_kind", "path")) not in ("path", "auto"):
            raise RecipeError("the files of requests are read as text", seen=f"forget_kind {kind}", allowed="path")
        fields = {"excerpts": False, **fields, "forget_kind": "path"}
    elif len(names) > 1:
        raise RecipeError(
            f"a run on {plain.model} takes one list of rows to forget",
            seen=f"{len(names)} files",
            next_step="give --one-by-one, and one file a request",
        )
    else:
        target = target / names[0]
    return read_recipe(path, {**fields, "forget": str(target)}), {"base": base, "from": digest}


def newest_model(ledger: Ledger, base: str) -> tuple[Path, str] | tuple[None, None]:
    """The model that passed last, of those from a base model, and its digest; None if none passed.

    Raises:
        RunError: it is gone, or has changed.
    """
    if (event := newest_passed(ledger.chain, base)) is None:
        return None, None
    started = ledger.last(event.request, "started")
    assert started is not None
    folder = RunFolder(started["run"])
    if model_digest(digest_saved(folder.model)) != event.content["saved"]:
        raise RunError(
            f"{folder.model} is gone or was changed: the next run would start from it",
            next_step="restore it, or give --model with the model to start from",
        )
    return folder.model, event.content["model"]


def _files(ledger: Ledger, batch: Batch) -> list[tuple[str, Path]]:
    """(name in the run, path) of every file of a batch. Raises `DataError` for one that has changed."""
    found = []
    for number in batch.numbers:
        noted = ledger.private.read(number)
        added = ledger.last(number, "added")
        if noted is None or added is None or len(noted["files"]) != len(added["files"]):
            raise RunError(
                f"the paths of the files of {name_of(number)} are no longer noted",
                next_step="restore private/ from a backup, or refuse the request and add it again",
            )
        if not noted["files"]:
            raise RunError(
                f"{name_of(number)} names no files, and there is nothing to forget",
                next_step="add a request with the files, and close this one (expunge request close)",
            )
        for place, (path, entry) in enumerate(zip(noted["files"], added["files"], strict=True), 1):
            name = f"{name_of(number)}-{place}{known_endings(Path(path).name)}"
            laid = ledger.private.folder_of(batch.name) / name
            source = laid if laid.is_file() else Path(path)
            if not source.is_file() or salted_file(ledger.key, source) != entry["digest"]:
                raise DataError(
                    f"file {place} of {name_of(number)} is {'not' if source.is_file() else 'gone, and was not'} as it "
                    "was when the request was added",
                    seen=source,
                    next_step="restore it, or refuse the request and add it again",
                )
            found.append((name, source))
    return found
