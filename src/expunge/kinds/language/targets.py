"""Target distributions for the forget set, computed from the original's.

Signals of the name `distributions`, so that a loss compares with them by `step.against_original`. A method asks for one
of them itself, in `wants`; they are not in a registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from expunge.errors import RecipeError
from expunge.kinds.language.distributions import FrozenHead, Head, Original, row_values, wide
from expunge.kinds.language.limits import positions
from expunge.kinds.language.signals.distributions import Distributions
from expunge.kinds.language.signals.signal import Source
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import Lookup
from expunge.train.step import IGNORED, Batch


@dataclass(slots=True)
class Guided(Original):
    """The original's distributions, steered away from an expert's; `states` is (rows, 3, width).

    log q = log p + s (log p of a novice - log p of an expert) up to a constant, over the `top_k` likeliest tokens only.
    """

    strengths: Tensor
    "(rows,) s"
    temperature: float = 1.0
    top_k: int | None = None

    def to(self, device: torch.device) -> Guided:
        return replace(
            self, states=self.states.to(device), head=self.head.to(device), strengths=self.strengths.to(device)
        )

    def part(self, rows: slice, head: FrozenHead) -> Guided:
        states = self.states[rows].to(head.weight.dtype)
        return replace(self, states=states, head=head, strengths=self.strengths[rows])

    def log_q(self, head: Head) -> Tensor:
        logits = wide(head.frozen_logits(self.states.flatten(0, 1), self.head)) / self.temperature
        plain, expert, novice = logits.log_softmax(-1).unflatten(0, (-1, 3)).unbind(1)
        return top(plain + self.strengths.to(plain)[:, None] * (novice - expert), self.top_k)


@dataclass(frozen=True)
class GuidedTargets(Distributions):
    """A `Guided` for each batch of the forget set: the original's states with nothing, an expert's or a novice's text
    before it.

    `strength` is reached at a block's last labelled token, from `first_strength` at its first one.
    """

    expert: str
    novice: str
    first_strength: float
    strength: float
    temperature: float
    top_k: int | None

    set = "forget"
    doing = "computing the base model's outputs on the forget set as an expert and as a novice"

    def block(self, source: Source, row: int) -> Tensor:
        task, batch = source.base(), source.table.batch([row])
        return torch.stack([said_after(task, batch, text) for text in ("", self.expert, self.novice)], 1)

    def lookup(self, source: Source, path: Path) -> Lookup:
        plain = super().lookup(source, path)

        def found(rows: Sequence[int]) -> Guided:
            counts = [int((source.table.labels_of(row)[1:] != IGNORED).sum()) for row in rows]
            ramps = [np.linspace(self.first_strength, self.strength, count) for count in counts]
            original, strengths = plain(rows), torch.from_numpy(np.concatenate(ramps))
            return Guided(original.states, original.head, strengths, self.temperature, self.top_k)

        return found


def introduced(task: CausalLM, before: Sequence[int], ids: Sequence[int]) -> list[int]:
    """Tokens with others inserted before them, after the beginning-of-text token if there is one."""
    start = 1 if ids and ids[0] == task.tokenizer.bos_token_id else 0
    return [*ids[:start], *before, *ids[start:]]


def said_after(task: CausalLM, batch: Batch, text: str) -> Tensor:
    """(rows, width) inputs of the output layer before each labelled token of one block, with a text before the block.

    Raises:
        RecipeError: the model has no positions for both.
    """
    before = task.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
    ids = batch.ids[0].tolist()
    whole = torch.tensor([introduced(task, before, ids)])
    limit = positions(task.model.config)
    if limit is not None and whole.shape[1] > limit:
        raise RecipeError(
            "the model has no positions for a block and the words before it",
            seen=f"{len(before)} + {len(ids)} tokens",
            allowed=f"at most {limit}",
            next_step=f"shorter blocks: --data.block_size {max(16, limit - len(before))}",
        )
    labels = torch.cat([torch.full((1, len(before)), IGNORED), batch.labels], 1)
    moved = replace(
        batch, ids=whole, labels=labels, lengths=torch.tensor([whole.shape[1]]), soft_ids=None, soft_weights=None
    ).to(task.device)
    with task.autocast():
        return task.head_inputs(moved)[task.labelled(moved)]


@dataclass(slots=True)
class Demoted(Original):
    """The original's `top_k` likeliest tokens in each row; in rows to forget without the label and a nucleus."""

    labels: Tensor
    "(rows,) the label's token"
    forgotten: Tensor
    "(rows,) bool"
    top_k: int | None = None
    nucleus: float = 0.0
    "mass of the likeliest tokens removed in addition to the label, the fewest that hold it; at least one other stays"

    def to(self, device: torch.device) -> Demoted:
        moved = {name: getattr(self, name).to(device) for name in ("states", "head", "labels", "forgotten")}
        return replace(self, **moved)

    def part(self, rows: slice, head: FrozenHead) -> Demoted:
        states = self.states[rows].to(head.weight.dtype)
        return replace(self, states=states, head=head, labels=self.labels[rows], forgotten=self.forgotten[rows])

    def log_q(self, head: Head) -> Tensor:
        log_p = wide(head.frozen_logits(self.states, self.head)).log_softmax(-1)
        values, places = log_p.topk(min(self.top_k or log_p.shape[1], log_p.shape[1]), dim=1)
        likelier = values.exp().cumsum(1) - values.exp()
        gone = (places == self.labels[:, None]) | (likelier < self.nucleus)
        last = places.shape[1] - 1 - (places[:, -1] == self.labels).long()
        gone = gone.scatter(1, last[:, None], False) & self.forgotten[:, None]
        return torch.full_like(log_p, -torch.inf).scatter(
            1, places, values.masked_fill(gone, -torch.inf).log_softmax(-1)
        )


@dataclass(frozen=True)
class DemotedTargets(Distributions):
    """A `Demoted` for each batch of the forget set.

    Rows to forget are the `share` of each block's labelled tokens, rounded up, that the original finds least likely,
    without its first `skip` ones.
    """

    share: float
    top_k: int | None
    nucleus: float
    skip: int

    set = "forget"
    doing = "computing the base model's outputs on the forget set"
    version = 2

    def block(self, source: Source, row: int) -> Tensor:
        """The states, and a last column: the label's log-probability, computed from them in float32."""
        states = wide(super().block(source, row))
        labels = torch.from_numpy(source.table.labels_of(row)[1:].astype(np.int64)).to(states.device)
        log_p, _ = row_values(source.base().head, states, labels[labels != IGNORED], of_label)
        return torch.cat([states, log_p[:, None]], 1)

    def lookup(self, source: Source, path: Path) -> Lookup:
        plain = super().lookup(source, path)

        def found(rows: Sequence[int]) -> Demoted:
            original = plain(rows)
            labels = [labels[1:][labels[1:] != IGNORED] for labels in map(source.table.labels_of, rows)]
            nll = (-original.states[:, -1]).split([len(each) for each in labels])
            forgotten = torch.cat([least_likely(each, self.share, self.skip) for each in nll])
            tokens = torch.from_numpy(np.concatenate(labels).astype(np.int64))
            return Demoted(original.states[:, :-1], original.head, tokens, forgotten, self.top_k, self.nucleus)

        return found


def of_label(log_p: Tensor, _: Tensor | None, target: Tensor) -> Tensor:
    """(rows,) the labels' own log-probabilities, from all (rows, vocabulary)."""
    return log_p.gather(1, target[:, None])[:, 0]


def least_likely(nll: Tensor, share: float, skip: int) -> Tensor:
    """(rows,) bool: the `share`, rounded up, of the largest of nll (rows,), without the first `skip` rows."""
    count = -int(-share * max(0, len(nll) - skip) // 1)
    found = torch.zeros(len(nll), dtype=torch.bool)
    found[skip + nll[skip:].argsort(descending=True, stable=True)[:count]] = True
    return found


def top(logits: Tensor, count: int | None) -> Tensor:
    """(rows, vocabulary) log-probabilities of the `count` largest of each row; minus infinity elsewhere."""
    if count is None or count >= logits.shape[1]:
        return logits.log_softmax(-1)
    values, places = logits.topk(count, dim=1)
    return torch.full_like(logits, -torch.inf).scatter(1, places, values.log_softmax(-1))
