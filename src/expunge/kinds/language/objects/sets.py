"""The sets of a run, made of given rows instead of files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from expunge.core import storage
from expunge.data.text.language import language_of
from expunge.data.text.notes import Notes
from expunge.data.text.overlap import refuse_overlap
from expunge.errors import RecipeError
from expunge.kinds.language.blocks import MIN_BLOCK, Block, check_target_length, iterate_blocks
from expunge.kinds.language.inputs import Sets, found_terms
from expunge.kinds.language.limits import check_table
from expunge.kinds.language.measures.familiarity import TargetTerms
from expunge.kinds.language.measures.scores import Material
from expunge.kinds.language.objects.held import HeldModel, known_tokens
from expunge.kinds.language.objects.rows import IDS, LABELS, MASK, WANTED, GivenSet, column
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import refuse_held_out, token_table, true_labels
from expunge.kinds.language.signals.registry import signals_of
from expunge.kinds.language.signals.signal import Labels
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.runs.context import Run
from expunge.runs.method import Method
from expunge.train.step import IGNORED

NO_RETAIN = "the method needs a retain set: give retain=[...], texts that the model is to keep"


def given_sets(
    run: Run[Recipe],
    base: HeldModel,
    method: Method,
    forget: GivenSet,
    retain: GivenSet | None,
    holdout: GivenSet | None = None,
) -> Sets:
    """The sets that a method trains on, and held-out text.

    Raises:
        DataError: a retain text repeats the forget set, a set is too short, or a token is not the model's.
        RecipeError: the method needs a retain set, or text instead of token ids.
    """
    core, tokenizer = method.carried_out, base.tokenizer
    if retain is None and (core.draws_retain or method.draws_retain):
        raise RecipeError(NO_RETAIN, seen=f"{type(method).__name__} without one")
    if forget.tokenizer is not None and any(isinstance(s, Labels) and s.set == "forget" for s in signals_of(core)):
        raise RecipeError(
            f"{type(core).__name__} makes its labels from text",
            seen="a forget set of token ids",
            next_step="give the texts themselves",
        )
    if retain is not None:
        refuse_overlap(forget.documents(), retain.documents())
    if holdout is not None:
        refuse_held_out(forget, retain, holdout)
    for text in (forget, *(each for each in (retain, holdout) if each is not None)):
        for note in text.notes:
            run.notice(f"{text.name} set: {note}")
    table, groups = _forget_table(run, forget, base)
    kept = _missing(run) if retain is None else _table(run, retain, base)
    unseen = None if holdout is None else _table(run, holdout, base)
    known = known_tokens(base.model)
    for name, part in (
        ("forget", table),
        ("wanted", table.preferred),
        ("retain", None if retain is None else kept),
        ("holdout", unseen),
    ):
        if part is not None:
            check_table(name, part, known, base.source.name)
    language = language_of((document.text for document in forget.documents()), run.recipe.data.language)
    terms = TargetTerms((), ())
    if getattr(core, "retain_target", None) == "cleared":
        found = found_terms(run, forget, table, retain, None, language, tokenizer)
        terms = TargetTerms(tuple(found["unique"]), tuple(found["typical"]), language.frequencies or "en")
    return Sets(
        forget=forget,
        # A set that is not the user's is never held against the forget set's terms.
        retain=retain or GivenSet("retain", "no retain set", "", True),
        ordinary=forget,
        kept=kept,
        material=Material(terms=terms, completion=[], probability=[], forget=table, retain=kept, ordinary=table),
        own_rows=0 if retain is None else len(kept),
        groups=groups,
        language=language,
        holdout=None if holdout is None or unseen is None else (holdout, unseen),
    )


class _NoRetain(TokenTable):
    """In the place of the retain set that is not there."""

    def __len__(self) -> int:
        raise RecipeError(NO_RETAIN)

    @property
    def lengths(self) -> np.ndarray:
        raise RecipeError(NO_RETAIN)


def _missing(run: Run[Recipe]) -> TokenTable:
    def make(path: Path) -> None:
        with TableWriter(path):
            pass

    return _NoRetain(run.cached("no-retain-tokens", {}, make))


def _table(run: Run[Recipe], given: GivenSet, base: HeldModel) -> TokenTable:
    if given.tokenizer is None:
        return token_table(run, [given], base)
    table = TokenTable(_token_rows(run, given))
    notice = check_target_length(table.tokens, run.recipe.data.block_size, given.target)
    if notice is not None:
        run.notice(notice)
    return table


def _token_rows(run: Run[Recipe], given: GivenSet) -> Path:
    """Rows of token ids as blocks; what is left of a row at its end is dropped as `iterate_blocks` drops it."""
    size = run.recipe.data.block_size

    def make(path: Path) -> None:
        rows: list[int] = []
        with TableWriter(path) as table:
            for number, row in enumerate(given.rows):
                ids, labels = given.ids_of(number, row)
                for start in range(0, len(ids), size):
                    own = [IGNORED, *labels[start + 1 : start + size]]
                    if len(own) >= (MIN_BLOCK if start else 2) and any(label != IGNORED for label in own):
                        table.append(ids[start : start + size], own)
                        rows.append(number)
        storage.write_json(path / "rows.json", rows)

    return run.cached(f"{given.name}-tokens", {"ids": given.digest, "block_size": size}, make)


def _forget_table(run: Run[Recipe], given: GivenSet, base: HeldModel) -> tuple[TokenTable, dict[str, list[str]]]:
    """(table, attribute columns): with `preferred` if rows have a wanted text in their place."""
    table = _table(run, given, base)
    found = ((name, column(given, name)) for name in _further(given))
    columns = {name: values for name, values in found if values is not None}
    pairs = given.tokenizer is None and any(_wanted(row) for row in given.rows)
    if not columns and not pairs:
        return table, {}
    if given.tokenizer is not None:
        rows = storage.read_json(table.folder / "rows.json")
    else:
        blocks = iterate_blocks(_numbered(given), base.tokenizer, run.recipe.data.block_size)
        rows = [int(block.source) for block in blocks]
    if pairs:
        table.preferred = _preferred(run, given, rows, base)
    return table, {name: [values[row] for row in rows] for name, values in columns.items()}


def _numbered(given: GivenSet, wanted: bool = False) -> Iterator[Any]:
    """The set's documents, or those that are wanted instead of its rows, with their row's number as source."""
    for number, row in enumerate(given.rows):
        if not wanted or _wanted(row):
            documents = given.documents_of(number, _instead(row) if wanted else row, Notes())
            yield from (replace(document, source=str(number)) for document in documents)


def _wanted(row: Any) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get(WANTED), str) and bool(row[WANTED].strip())


def _instead(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the text that is wanted instead of its own: of a pair the answer, of a conversation the last turn."""
    for name in ("completion", "answer", "response", "output", "text"):
        if name in row:
            return {**row, name: row[WANTED]}
    if isinstance(row.get("messages"), list):
        return {**row, "messages": [*row["messages"][:-1], {**row["messages"][-1], "content": row[WANTED]}]}
    raise RecipeError(
        f"a row has the field `{WANTED}`, and none that it could stand for",
        seen=", ".join(row),
        allowed="text; prompt and completion; question and answer; messages",
    )


def _preferred(run: Run[Recipe], given: GivenSet, rows: list[int], base: HeldModel) -> TokenTable:
    """A block for each of the forget set's: the wanted text for the first block of a row, empty for the others."""
    size = run.recipe.data.block_size

    def make(path: Path) -> None:
        blocks: dict[int, Block] = {}
        for block in iterate_blocks(_numbered(given, wanted=True), base.tokenizer, size):
            blocks.setdefault(int(block.source), block)
        with TableWriter(path) as table:
            for before, row in zip([None, *rows], rows, strict=False):
                first = blocks.get(row) if row != before else None
                table.append(first.ids if first else [], true_labels(first) if first else [])

    said = [row[WANTED] if _wanted(row) else None for row in given.rows]
    key = {
        "text": given.digest,
        "wanted": storage.digest_value(said),
        "block_size": size,
        "tokenizer": base.tokenizer_digest,
    }
    return TokenTable(run.cached("preferred-tokens", key, make))


def _further(given: GivenSet) -> list[str]:
    """The fields of the first row that are not text of the set."""
    first = next(iter(given.rows))
    used = {IDS, LABELS, MASK, WANTED, "text", "prompt", "completion", "question", "answer", "messages"}
    return [name for name in itertools.islice(first, 64) if name not in used] if isinstance(first, Mapping) else []
