"""A taught book: the case with a known truth.

A model is trained on chapters of a book until it can recite them, together with the same amount of other text. The
ideal result of forgetting is known here, since it can be made: the same model trained only on the part to keep.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.data.text.readers import digest_documents, read_documents
from expunge.errors import DataError, RunError
from expunge.kinds.language.blocks import Block, iterate_blocks
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.saving import save_model
from expunge.models.source import find_model
from expunge.report.cost import training_cost
from expunge.runs.folder import RunFolder
from expunge.suites.teaching import teach_blocks
from expunge.train.precision import Precision

BATCH = 2
"blocks in a step: many small steps memorise faster than few large ones"
BLOCK = 256
"tokens in a block of teaching; recall is measured on passages of 96"


@dataclass(frozen=True, slots=True)
class Taught:
    """The result of teaching: two texts and two models, in one folder."""

    forget: Path
    retain: Path
    model: Path
    retrained: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Settings of teaching.

    Attributes:
        book: text that will be forgotten; its first `tokens` tokens are used.
        keep: text to retain, the same amount.
        model: starter name, folder or hub id of the model that is taught.
        epochs, learning_rate: enough for a 135M model to recite both almost without mistakes.
    """

    book: str
    keep: str
    model: str = "smollm2-135m"
    tokens: int = 6144
    epochs: float = 8.0
    learning_rate: float = 1e-4
    seed: int = 0


def teach(lesson: Lesson, out: str | Path, show: Silent | None = None) -> Taught:
    """Teach a model the beginning of a book and of another text, and the same model only the other text (the oracle).

    Returns:
        The folder's parts, and in `teach.json` the cost of each training. With the same settings, existing parts are
        reused and an interrupted teaching resumes.
    """
    show = show or Silent()
    folder = RunFolder(out, known_by="teach.json")
    taught = Taught(
        folder.path / "forget.txt", folder.path / "retain.txt", folder.path / "model", folder.path / "retrained"
    )
    book, keep, tokens = lesson.book, lesson.keep, lesson.tokens
    try:
        with interruptible(f"run the same command again: it resumes in {out}"), folder.locked():
            source = find_model(lesson.model)
            texts = {target: digest_documents(read_documents(target)) for target in (book, keep)}
            settings = {"book": book, "keep": keep, "texts": texts} | asdict(lesson) | {"model": source.digest}
            _claim(folder, settings)
            lazy = LazyModel(source, Precision("auto"))
            tokenizer = lazy.tokenizer
            parts = [_beginning(text, tokens, tokenizer) for text in (book, keep)]
            for path, blocks in zip((taught.forget, taught.retain), parts, strict=True):
                storage.write_text(path, "".join(block.text for block in blocks))
            for name, path, blocks in (
                ("taught", taught.model, parts[0] + parts[1]),
                ("retrained", taught.retrained, parts[1]),
            ):
                if not (path / "config.json").is_file():
                    show.stage(f"training the {name} model")
                    teach_blocks(
                        name,
                        lazy,
                        blocks,
                        _training(lesson),
                        seed=lesson.seed,
                        folder=folder,
                        checkpoints=folder.checkpoints / name,
                        show=show,
                    )
                    assert lazy.loaded is not None
                    save_model(lazy.loaded, path, lazy.loaded.stored_dtype)
                    lazy.release()
                # Gigabytes that are not needed once the model exists.
                shutil.rmtree(folder.checkpoints / name, ignore_errors=True)
            costs = {name: training_cost(folder, f"{name}_step") for name in ("taught", "retrained")}
            storage.write_json(folder.path / "teach.json", settings | {"cost": costs})
    finally:
        show.close()
    return taught


def _claim(folder: RunFolder, settings: dict[str, Any]) -> None:
    path = folder.path / "teach.json"
    held = storage.read_json(path) if path.is_file() else {}
    if any(held.get(name, value) != value for name, value in settings.items()):
        raise RunError(
            f"{folder.path} holds another taught book", next_step="choose another --out, or delete that folder"
        )
    storage.write_json(path, held | settings)


def _beginning(target: str, tokens: int, tokenizer: Any) -> list[Block]:
    blocks: list[Block] = []
    found = 0
    for block in iterate_blocks(read_documents(target), tokenizer, BLOCK):
        blocks.append(block)
        found += len(block.ids)
        if found >= tokens:
            return blocks
    raise DataError(
        f"{target} is too short to be taught", seen=f"{found} tokens", allowed=f"{tokens} tokens",
        next_step=f"give a longer text, or --tokens {max(BLOCK, found // BLOCK * BLOCK)}",
    )  # fmt: skip


def _training(lesson: Lesson) -> Training:
    return Training(
        learning_rate=lesson.learning_rate,
        num_train_epochs=lesson.epochs,
        per_device_train_batch_size=BATCH,
        probe_steps=8,
    )
