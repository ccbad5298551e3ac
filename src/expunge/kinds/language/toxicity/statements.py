"""Toxic and clean statements as the sets of a run: chosen once, cached in a stage, cut into a block each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.data.text.document import Document
from expunge.data.text.readers import digest_documents, read_documents
from expunge.data.text.words import first_units, units
from expunge.errors import DataError
from expunge.kinds.language.blocks import Block, iterate_blocks
from expunge.kinds.language.recipe import HUB, Recipe
from expunge.kinds.language.sets import TextSet, true_labels
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.kinds.language.toxicity.toxic_rows import Statement
from expunge.kinds.language.toxicity.toxic_text import ToxicText, choose, read_toxic_text, settle_groups
from expunge.runs.context import Run

GROUPS = "groups.json"
"the attribute columns of a table of statements, in its folder: name -> a group for each block"
BEGINNING = 0.5
"share of a statement's words in its beginning"
WORDS = 6
"words (characters, in scripts without spaces) minimum of a statement to be cut"


@dataclass(frozen=True, slots=True)
class Statements:
    """The sets, as text, and everything that was read."""

    toxic: TextSet
    clean: TextSet
    beginnings: list[str]
    "beginnings of toxic statements that are not trained on"
    found: ToxicText


def read_statements(run: Run[Recipe]) -> Statements:
    """Read the tables that the recipe names, and choose the training texts.

    Raises:
        DataError: see `read_toxic_text` and `settle_groups`.
    """
    settings = run.recipe.statements
    run.show.stage("reading toxic and clean text")
    found = settle_groups(
        read_toxic_text(settings.hub if run.recipe.forget == HUB else [run.recipe.forget]),
        settings.min_group_rows,
        settings.too_few,
    )

    def make(path: Path) -> None:
        toxic, clean, left = choose(found, settings.toxic, settings.clean, run.recipe.seed, settings.tuning_prompts)
        _write(toxic, path / "toxic.jsonl")
        _write(clean, path / "clean.jsonl")
        storage.write_json(path / "beginnings.json", _beginnings(left, settings.tuning_prompts))

    made_from = {
        "text": found.digest(),
        "settings": settings.model_dump(mode="json", exclude={"hub", "hub_prompts", "tuning_samples", "front"}),
        "seed": run.recipe.seed,
    }
    path = run.cached("statements", made_from, make)

    def text_set(name: str, file: Path, origin: str) -> TextSet:
        return TextSet(name, str(file), digest_documents(read_documents(file)), False, origin)

    return Statements(
        text_set("forget", path / "toxic.jsonl", run.recipe.forget),
        text_set("retain", path / "clean.jsonl", f"{run.recipe.forget}, clean statements and rewrites"),
        storage.read_json(path / "beginnings.json"),
        found,
    )


def _write(statements: Sequence[Statement], path: Path) -> None:
    rows = [{"text": each.text, "group": each.group, "rewrite": each.rewrite} for each in statements]
    storage.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _beginnings(statements: Iterable[Statement], wanted: int) -> list[str]:
    """The first half of statements, each beginning once."""
    found: dict[str, None] = {}
    for each in statements:
        count = len(units(each.text))
        if count >= WORDS:
            found.setdefault(first_units(each.text, int(count * BEGINNING)))
        if len(found) == wanted:
            break
    return list(found)


def statement_table(run: Run[Recipe], toxic: TextSet, tokenizer: Any, digest: str) -> TokenTable:
    """Toxic statements as blocks, one each, at most `data.block_size` tokens; with `preferred` where any has a rewrite,
    in which the row of a statement without one is empty.

    Raises:
        DataError: no statement has two tokens.
    """

    def make(path: Path) -> None:
        rows = [json.loads(line) for line in Path(toxic.target).read_text(encoding="utf-8").splitlines()]
        texts = _first_blocks([row["text"] for row in rows], tokenizer, run.recipe.data.block_size)
        rewrites = _first_blocks([row["rewrite"] or "" for row in rows], tokenizer, run.recipe.data.block_size)
        if not texts:
            raise DataError("no toxic statement is long enough", allowed="two tokens", next_step="give other text")
        with TableWriter(path) as table, TableWriter(path / "preferred") as preferred:
            for row, block in texts.items():
                table.append(block.ids, true_labels(block))
                rewrite = rewrites.get(row)
                preferred.append(rewrite.ids if rewrite else [], true_labels(rewrite) if rewrite else [])
        storage.write_json(path / GROUPS, {"group": [rows[row]["group"] for row in texts]})

    made_from = {
        "rows": storage.digest_file(Path(toxic.target)),
        "block_size": run.recipe.data.block_size,
        "tokenizer": digest,
    }
    path = run.cached("forget-tokens", made_from, make)
    table, preferred = TokenTable(path), TokenTable(path / "preferred")
    if preferred.tokens:
        table.preferred = preferred
    return table


def sides_of(found: ToxicText) -> list[tuple[list[str], list[str]]]:
    """Toxic and clean texts of each table, all that was read; rewrites are with the clean text of their table."""
    tables: dict[str, tuple[list[str], list[str]]] = {}
    for each in (*found.toxic, *found.clean):
        toxic, clean = tables.setdefault(each.table, ([], []))
        (toxic if each.toxic else clean).append(each.text)
        if each.rewrite:
            clean.append(each.rewrite)
    return list(tables.values())


def _first_blocks(texts: list[str], tokenizer: Any, block_size: int) -> dict[int, Block]:
    """The first block of each text that has one, by the text's number."""
    documents = (Document(text, None, str(number)) for number, text in enumerate(texts) if text.strip())
    blocks: dict[int, Block] = {}
    for block in iterate_blocks(documents, tokenizer, block_size):
        blocks.setdefault(int(block.source), block)
    return blocks
