"""What the base model says of a table's blocks, as labels: a few candidates with weights for each token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from expunge.core import storage
from expunge.core.order import random_seed
from expunge.kinds.language.signals.divided import OF_BATCHES, by_batch
from expunge.kinds.language.signals.signal import Labels, Source, alike
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.train.step import IGNORED, Batch

if TYPE_CHECKING:
    from expunge.kinds.language.task import CausalLM

TOP, TAIL = 24, 8
"likeliest tokens stored with their probability, and draws that represent all others"
WINDOW = 256
"blocks whose labels are in memory at once"


@dataclass(frozen=True)
class RetainLabels(Labels):
    """The retain set, labelled as the method's `retain_target` says.

    The user's text is labelled with itself ("text"), with the base model's predictions ("base"), or half and half
    ("both"). Text that was sampled from the base model represents all that it would have said: it always has the base's
    distribution. A base that knows its target by heart expects it in other texts, too: "cleared" leaves the target's
    own terms out of what it says. Only blocks that training draws are labelled.
    """

    target: str = "text"

    name = "retain_labels"
    set = "retain"

    def labelled(self, source: Source) -> TokenTable:
        run, base, sets, table = source.run, source.base, source.sets, source.table
        text_rows = int(sets.own_rows * {"text": 1.0, "both": 0.5}.get(self.target, 0.0))
        if text_rows == len(table):
            return table
        cleared = whole_tokens(sets.material.terms.unique, base.tokenizer) if self.target == "cleared" else []

        def make(path: Path) -> None:
            reference_labels(base(), table, source.rows, path, run.recipe.seed, run.show.update, text_rows, cleared)

        key: dict[str, Any] = source.key() | {
            "kept": table.folder.name,
            "rows": storage.digest_value(list(source.rows)),
            "text_rows": text_rows,
            "seed": run.recipe.seed,
        }
        if cleared:
            key["cleared"] = cleared
        path = run.cached("reference", key, make, "computing the base model's predictions on the retain set")
        return table.relabelled(TokenTable(path), source.rows)


def whole_tokens(terms: Sequence[str], tokenizer: Any) -> list[int]:
    """Tokens that are a whole word of a term, with or without a space before it."""
    written = {space + word for term in terms for word in term.split() for space in ("", " ")}
    found = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in sorted(written))
    return sorted({ids[0] for ids in found if len(ids) == 1})


def reference_labels(
    task: CausalLM,
    table: TokenTable,
    rows: Sequence[int],
    folder: Path,
    seed: int,
    progress: Callable[[float], None] | None = None,
    text_rows: int = 0,
    cleared: Sequence[int] = (),
) -> None:
    """Write `rows` of `table` again with soft labels: the base model's own distribution over the next token.

    Cross-entropy with them is KL(base || model) up to a constant. Each position keeps its `TOP` likeliest tokens with
    their probabilities; the mass of all others is shared by `TAIL` draws from them, so that the loss is an unbiased
    estimate of the full one. (Cutting the tail off instead would sharpen the model, and raise its perplexity.)
    The first `text_rows` rows of `table` are labelled with their own text instead; tokens in `cleared` get nothing of
    the base's mass, which the others share in proportion; the mass that they had is written beside, and so is what each
    label cost the base: 0 if not asked.
    """
    costs: list[np.ndarray] = []
    masses: list[np.ndarray] = []
    with TableWriter(folder, k=TOP + TAIL) as writer:
        for start in range(0, len(rows), WINDOW):
            window = rows[start : start + WINDOW]
            said = _base_says(task, table, [row for row in window if row >= text_rows], seed, cleared)
            for row in window:
                ids, labels = np.array(table.ids[table.starts[row] : table.ends[row]]), np.array(table.labels_of(row))
                soft_ids = np.zeros((len(ids), TOP + TAIL), np.int64)
                soft_weights = np.zeros((len(ids), TOP + TAIL), np.float32)
                places = np.flatnonzero(labels[1:] != IGNORED) + 1
                cost, mass = np.zeros(len(ids), np.float32), np.zeros(len(ids), np.float32)
                if row < text_rows:
                    soft_ids[places, 0], soft_weights[places, 0] = labels[places], 1.0
                elif len(places):
                    soft_ids[places], soft_weights[places], cost[places], mass[places] = said[row]
                writer.append(ids, labels, soft_ids, soft_weights)
                costs.append(cost)
                masses.append(mass)
            if progress is not None:
                progress((start + len(window)) / len(rows))
    np.save(folder / "token_nll.npy", np.concatenate([np.zeros(0, np.float32), *costs]), allow_pickle=False)
    if cleared:
        np.save(folder / "cleared_mass.npy", np.concatenate([np.zeros(0, np.float32), *masses]), allow_pickle=False)


def _base_says(
    task: CausalLM, table: TokenTable, rows: Sequence[int], seed: int, cleared: Sequence[int]
) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """For each block: candidates and weights (labels, TOP + TAIL), drawn by its number; what each label costs, and the
    mass of what is cleared, both (labels,)."""
    groups = list(alike(table, [row for row in rows if table.labelled([row])]))
    return {
        row: (candidates, weights, cost, mass)
        for of, said in by_batch(task, "said", table, groups, seed, list(cleared))
        for row, (candidates, weights, cost, mass) in zip(of, said, strict=True)
    }


def _said(
    task: CausalLM, batch: Batch, rows: Sequence[int], seed: int, cleared: Sequence[int]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """The same of each block of a batch, in order."""
    found = []
    labelled = batch.labels[:, 1:] != IGNORED
    parts = task.row_logits(batch).softmax(-1).cpu().split(labelled.sum(1).tolist())
    for row, rest, labels, kept in zip(rows, parts, batch.labels[:, 1:], labelled, strict=True):
        cost = -rest.gather(1, labels[kept][:, None])[:, 0].log()
        mass_cleared = rest.new_zeros(len(rest))
        if cleared:
            mass_cleared = rest[:, list(cleared)].sum(1)
            rest[:, list(cleared)] = 0.0
            rest /= rest.sum(1, keepdim=True)
        top = rest.topk(TOP, dim=-1)
        rest.scatter_(1, top.indices, 0.0)
        mass = rest.sum(1, keepdim=True)
        generator = torch.Generator().manual_seed(random_seed(seed, "reference", row))
        drawn = torch.multinomial(rest.add_(1e-12), TAIL, replacement=True, generator=generator)
        weights = torch.cat([top.values, (mass / TAIL).expand(-1, TAIL)], 1)
        candidates = torch.cat([top.indices, drawn], 1)
        found.append((candidates.numpy(), weights.numpy(), cost.numpy(), mass_cleared.numpy()))
    return found


OF_BATCHES["said"] = _said
