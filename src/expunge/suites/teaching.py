"""Teaching a model by heart: a model must first know what suites forget."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from expunge.core import storage
from expunge.core.progress import Silent
from expunge.kinds.language.blocks import Block
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.sets import true_labels
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.methods.fine_tune import FineTune
from expunge.runs.folder import RunFolder


def teach_blocks(
    name: str,
    lazy: LazyModel,
    blocks: Iterable[Block],
    training: Training,
    *,
    seed: int,
    folder: RunFolder,
    checkpoints: Path,
    show: Silent,
) -> None:
    """Fine-tune a model on blocks, in memory; interrupted, it resumes from `checkpoints`.

    Args:
        name: prefix of events: NAME_step and so on.
    """
    table_path = folder.stages / f"{name}-tokens"
    with storage.folder_aside(table_path) as aside, TableWriter(aside) as writer:
        for block in blocks:
            writer.append(block.ids, true_labels(block))
    table = TokenTable(table_path)
    work = LanguageWork(
        task=lazy.to_train(),
        forget=table,  # not drawn
        retain=table,
        training=training,
        seed=seed,
        checkpoints=checkpoints,
        log=lambda event, **values: folder.log(f"{name}_{event}", **values),
        on_progress=lambda step, steps, f: show.update(step / steps, f"loss {f['loss']:.2f}"),
    )
    work.carry_out(FineTune())
