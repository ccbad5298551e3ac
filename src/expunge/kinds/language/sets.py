"""The sets of a run as token tables: the forget set, the retain set, ordinary text."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.progress import Silent
from expunge.data.text.columns import Columns
from expunge.data.text.document import Document, digest_documents
from expunge.data.text.notes import Notes
from expunge.data.text.overlap import drop_overlapping, refuse_overlap, refuse_same_place
from expunge.data.text.readers import read_documents, read_several
from expunge.errors import DataError
from expunge.kinds.language.blocks import Block, check_target_length, iterate_blocks
from expunge.kinds.language.chat import form_of
from expunge.kinds.language.elicitation.asking import (
    elicit_topics,
    general_prompts,
    sample_general,
    with_room,
    write_rows,
)
from expunge.kinds.language.elicitation.sampling_cache import SoFar
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.kinds.language.topics import how_read
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.train.step import IGNORED


@dataclass(frozen=True, slots=True)
class TextSet:
    """A set of documents, where they come from, and their digest."""

    name: str
    target: str
    digest: str
    generated: bool
    origin: str | None = None
    "the user's target, if `target` was made from it"
    notes: tuple[str, ...] = ()
    "notes for readers on how it was read"
    also: tuple[str, ...] = ()
    "further targets of the same set"
    columns: Columns = field(default_factory=Columns)
    "how its rows are read"

    @classmethod
    def written(cls, name: str, path: Path) -> TextSet:
        """A set that the model itself wrote."""
        return cls(name, str(path), digest_documents(read_documents(path)), True)

    def documents(self) -> Iterator[Document]:
        return read_several(self.targets, Notes(self.columns))

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.target, *self.also)

    @property
    def shown(self) -> str:
        """Its name without the folders above it, since it may end up in a model card."""
        return ", ".join(Path(each).name if Path(each).is_absolute() else each for each in self.targets)


def forget_set(run: Run[Recipe], base: LazyModel) -> TextSet:
    """The forget set; for topics the model's answers are sampled once, and saved in `target/` for reading and editing.

    The recipe is resolved: it has the kind of target.
    """
    if run.recipe.forget_kind != "topic":
        return given_set("forget", run.recipe.targets, run.recipe, run.show)
    path, so_far = run.folder.target / "answers.jsonl", so_far_of("elicited", run.folder, base)
    if not path.is_file():
        run.show.say(how_read(run.recipe))
        topics, wanted = run.recipe.targets, run.recipe.data.elicited_answers
        if run.recipe.forget_list:
            run.notice(how_read(run.recipe))
        run.show.stage("asking the model about " + ("the topic" if len(topics) == 1 else f"{len(topics)} topics"))
        start = time.monotonic()
        found = elicit_topics(base(), topics, wanted, run.recipe.seed, so_far, run.show.update)
        for topic in [topic for topic, rows in found.items() if not rows]:
            run.notice(f"the model said nothing about {topic!r}: it is neither forgotten nor measured")
        several = len(topics) > 1
        write_rows([row | {"topic": topic} if several else row for topic, rows in found.items() for row in rows], path)
        for topic, rows in found.items():
            run.folder.log("elicited", topic=topic, answers=len(rows))
        run.folder.log("stage", name="elicited", reused=False, seconds=round(time.monotonic() - start, 2))
    so_far.remove()
    return TextSet.written("forget", path)


def given_set(name: str, targets: Sequence[str], recipe: Recipe, show: Silent) -> TextSet:
    """A set that the user gave, read once."""
    show.stage(f"reading the {name} set")
    notes = Notes(recipe.data.read_by(name))
    digest = digest_documents(read_several(targets, notes))
    first, *also = targets
    return TextSet(name, first, digest, False, notes=notes.lines(), also=tuple(also), columns=notes.columns)


def retain_set(recipe: Recipe, forget: TextSet, show: Silent) -> TextSet | None:
    """The user's retain set, checked against the target; None if none is given."""
    if recipe.retain is None:
        return None
    for target in forget.targets:
        refuse_same_place(target, recipe.retain)
    given = given_set("retain", [recipe.retain], recipe, show)
    refuse_overlap(forget.documents(), given.documents())
    return given


def holdout_set(recipe: Recipe, forget: TextSet, retain: TextSet | None, show: Silent) -> TextSet | None:
    """Text of the forget set's kind that no model saw, checked against the training sets; None if none is given."""
    if recipe.holdout is None:
        return None
    given = given_set("holdout", [recipe.holdout], recipe, show)
    refuse_held_out(forget, retain, given)
    return given


def refuse_held_out(forget: TextSet, retain: TextSet | None, holdout: TextSet) -> None:
    """Raise if held-out text repeats text that is trained on.

    Raises:
        DataError: it does.
    """
    for name, other in (("target", forget), ("retain text", retain)):
        if other is not None:
            refuse_overlap(
                other.documents(),
                holdout.documents(),
                (name, "held-out text"),
                "remove the passage from the held-out text: it must be text that no model saw",
            )


def general_set(run: Run[Recipe], forget: TextSet, terms: list[str], base: LazyModel) -> TextSet | None:
    """General text of the model, sampled on half of the general prompts; text that names the target is dropped."""
    if not run.recipe.data.retain_answers:
        return None
    return _sampled(run, "general", 0, run.recipe.data.retain_answers, forget, terms, base)


def ordinary_set(run: Run[Recipe], forget: TextSet, terms: list[str], base: LazyModel) -> TextSet:
    """Ordinary text to measure on: given, or sampled on the half of the general prompts that nothing is trained on."""
    if run.recipe.evaluation.ordinary_text is not None:
        return given_set("ordinary", [run.recipe.evaluation.ordinary_text], run.recipe, run.show)
    return _sampled(run, "ordinary", 1, run.recipe.evaluation.max_blocks, forget, terms, base)


def _sampled(
    run: Run[Recipe], name: str, half: int, wanted: int, forget: TextSet, terms: list[str], base: LazyModel
) -> TextSet:
    so_far = so_far_of(f"sampled-{name}", run.folder, base)
    room = min(run.recipe.data.block_size, run.recipe.evaluation.ordinary_block_size or run.recipe.data.block_size)

    def make(path: Path) -> None:
        prompts = general_prompts()[half::2]
        rows = sample_general(base(), prompts, wanted, run.recipe.seed + half, so_far, run.show.update)
        write_rows(with_room(rows, base(), room), path / "all.jsonl")
        kept = drop_overlapping(read_documents(path / "all.jsonl"), terms, forget.documents())
        if not kept:
            raise DataError(
                "all text sampled from the model overlaps with the target", next_step="give a retain set: --retain PATH"
            )
        write_rows(
            [
                {"text": document.text}
                if document.prompt is None
                else {"question": document.prompt, "answer": document.text}
                for document in kept
            ],
            path / f"{name}.jsonl",
        )

    made_from = {
        "model": base.digest,
        "wanted": wanted,
        "room": room,
        "seed": run.recipe.seed,
        "target": forget.digest,
        "terms": storage.digest_value(terms),
        "bf16": base.precision.bf16,
    }
    target = run.cached(f"sampled-{name}", made_from, make, f"sampling {name} text from the model") / f"{name}.jsonl"
    so_far.remove()
    return TextSet.written(name, target)


def so_far_of(name: str, folder: RunFolder, base: LazyModel) -> SoFar:
    return SoFar(folder.stages / f"{name}-so-far.json", {"model": base.digest, "bf16": base.precision.bf16})


def token_table(
    run: Run[Recipe],
    texts: Sequence[TextSet],
    base: LazyModel,
    limit: int | None = None,
    block_size: int | None = None,
    balanced: bool = True,
) -> TokenTable:
    """Cut sets into blocks of `block_size` tokens (`data.block_size`) that are their own labels; at most `limit` blocks
    of each.

    Of two sets the smaller one is repeated until it has about as many blocks (`balanced`), so that both are seen
    equally often: a user's few pages are not drowned in general text.
    """
    name, tokenizer = "-and-".join(text.name for text in texts), base.tokenizer
    size = block_size or run.recipe.data.block_size

    def cut(text: TextSet) -> Iterable[Block]:
        return itertools.islice(blocks(text, run.recipe, tokenizer, size), limit)

    def make(path: Path) -> None:
        counts = [sum(1 for _ in cut(text)) for text in texts]
        copies = [max(1, round(max(counts) / max(1, count))) if balanced else 1 for count in counts]
        storage.write_json(path / "parts.json", [c * n for c, n in zip(counts, copies, strict=True)])
        shortened: dict[str, int] = {}
        with TableWriter(path) as table:
            for text, times in zip(texts, copies, strict=True):
                for _ in range(times):
                    for block in cut(text):
                        table.append(block.ids, true_labels(block))
                        if block.dropped:
                            shortened[block.source] = block.dropped
        storage.write_json(path / "shortened.json", {"answers": len(shortened), "turns": sum(shortened.values())})

    made_from = {
        "texts": [text.digest for text in texts],
        "block_size": size,
        "tokenizer": base.tokenizer_digest,
        "limit": limit,
        "balanced": balanced and len(texts) > 1,
    }
    if (form := form_of(tokenizer)).note is not None:
        made_from["chat"] = [list(form.variables), form.opening]
    path = run.cached(f"{name}-tokens", made_from, make)
    table = TokenTable(path)
    shown = ", ".join(text.shown for text in texts)
    if (notice := check_target_length(table.tokens, size, shown)) is not None:
        run.notice(notice)
    shortened = path / "shortened.json"
    if shortened.is_file() and (cut_short := storage.read_json(shortened))["answers"]:
        run.notice(
            f"{shown}: {cut_short['answers']:,} answers are in conversations longer than a block of {size} tokens; the "
            f"earliest {cut_short['turns']:,} turns before them are left out"
        )
    return table


def blocks(text: TextSet, recipe: Recipe, tokenizer: Any, size: int | None = None) -> Iterable[Block]:
    return iterate_blocks(text.documents(), tokenizer, size or recipe.data.block_size)


def own_text(block: Block) -> tuple[str, int]:
    """(the text to train on, without a question row's prompt; the character at which it begins)."""
    cut = block.offsets[block.first_label][0]
    return block.text[cut:], cut


def true_labels(block: Block) -> list[int]:
    """The block's own tokens as labels; its prompt has none."""
    first = max(1, block.first_label)
    return [IGNORED] * first + block.ids[first:]
