"""Facts, which an audit asks for, each with the text before it; and how well a model still knows one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expunge.core import storage
from expunge.core.order import random_seed
from expunge.data.text.document import Document, Turn
from expunge.errors import DataError
from expunge.kinds.language.blocks import Block, iterate_blocks
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.task import CausalLM
from expunge.runs.audit import first_half, in_groups
from expunge.train.step import IGNORED, Batch

GIVEN, ASKED = 32, 32
"tokens of a passage that are given, and that are to be continued; Carlini et al. (arXiv:2202.07646) ask for 50 after 50"
ANSWER = 64
"tokens of an answer to predict, at most"
BATCH = 16
"facts in a forward pass"
FEWEST = 4
"minimum number of facts: half of them are held back"


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens; those from `first` on carry a label."""

    ids: tuple[int, ...]
    first: int


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: a question with its answer, or a passage and its continuation.

    Attributes:
        asked: the tokens to ask with; the answer, or the continuation, is labelled.
        taught: the same for training: all tokens of a passage are labelled.
        question: the question, if it is one.
        turns: the earlier turns of a question within a conversation; the question is the last of them.
        before, answer: as text, the rendered prompt and what should follow.
        source: where it is from.
    """

    asked: Row
    taught: Row
    question: str | None
    before: str
    answer: str
    source: str
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts in the order of the text. An attacker is given the first half, and the second is held back, so
    that neighbouring facts are not on both sides, nor those about one person, if that is known."""

    every: tuple[Fact, ...]
    about: tuple[int, ...] = ()
    "the number of each fact's person or document; empty if unknown"

    @property
    def groups(self) -> list[int] | None:
        """(facts,) group of each; None without groups, or with too few."""
        return in_groups(self.about)

    def some(self, number: int, seed: int) -> Facts:
        """At most `count` of them, drawn by the seed, in the order of the text."""
        chosen = sorted(np.random.default_rng(random_seed(seed, "fewer facts")).permutation(len(self.every))[:number])
        return Facts(tuple(self.every[i] for i in chosen), tuple(self.about[i] for i in chosen if self.about))

    @property
    def given(self) -> list[int]:
        """Numbers of the facts that an attacker trains on."""
        return first_half(self.about) if self.groups is not None else list(range(len(self.every) // 2))

    @property
    def held_back(self) -> list[int]:
        """Numbers of the others."""
        return sorted(set(range(len(self.every))) - set(self.given))

    @property
    def digest(self) -> str:
        """Digest of what results depend on."""
        return storage.digest_value([[list(fact.asked.ids), fact.asked.first] for fact in self.every])

    def shown(self, numbers: Sequence[int], said: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """The facts of these numbers as shown on a page; `said` are each model's answers to them, in their order."""
        return [
            {
                "source": Path(fact.source).name,
                "prompt": fact.question or fact.before,
                "true": fact.answer,
                "said": {which: texts[place] for which, texts in said.items()},
            }
            for place, fact in enumerate(self.every[number] for number in numbers)
        ]


def read_facts(
    documents: Callable[[], Iterable[Document]],
    tokenizer: Any,
    wanted: int,
    block_size: int,
    name: str,
    rows_together: int = 1,
) -> Facts:
    """At most `wanted` facts of a text, evenly spread over it: question rows unchanged, plain text in passages.

    Args:
        rows_together: this many consecutive questions are about the same; passages are grouped by document.

    Raises:
        DataError: there are fewer than four.
    """

    passage_of: dict[str, int] = {}

    def noted(texts: Iterable[Document]) -> Iterator[Document]:
        """The same, recording the passage of each piece."""
        number = 0
        for each in texts:
            number += not each.continues
            passage_of[each.source] = number
            yield each

    def able() -> Iterator[Block | Document]:
        """Passages and questions in the order of the text; only chosen questions are tokenized."""
        for plain, texts in groupby(noted(documents()), lambda each: each.prompt is None):
            if plain:
                yield from (block for block in iterate_blocks(texts, tokenizer, GIVEN + ASKED) if _whole(block))
            else:
                yield from texts

    number = sum(1 for _ in able())
    if number < FEWEST:
        raise DataError(
            f"the {name} has too few facts to be audited",
            seen=f"{number} questions or passages of {GIVEN + ASKED} tokens",
            allowed=f"at least {FEWEST}; a hundred give useful intervals",
        )
    chosen = set(spread(number, wanted))
    found: list[Fact] = []
    about: list[tuple[str, int]] = []
    rows = 0
    for at, each in enumerate(able()):
        question = isinstance(each, Document)
        if at in chosen:
            found.append(_fact(each, tokenizer, block_size))
            about.append(("row", rows // rows_together) if question else ("passage", passage_of.get(each.source, -at)))
        rows += question
    numbers = {key: number for number, key in enumerate(dict.fromkeys(about))}
    return Facts(tuple(found), tuple(numbers[key] for key in about))


def _whole(block: Block) -> bool:
    return len(block.ids) >= GIVEN + ASKED


def _fact(passage: Block | Document, tokenizer: Any, block_size: int) -> Fact:
    question, turns = (passage.prompt, passage.turns) if isinstance(passage, Document) else (None, ())
    block = next(iter(iterate_blocks([passage], tokenizer, block_size))) if isinstance(passage, Document) else passage
    ids = tuple(block.ids)
    if question is None:
        first = len(ids) - ASKED
        asked, taught = Row(ids, first), Row(ids, max(1, block.first_label))
    else:
        first = block.first_label
        asked = Row(ids[: first + ANSWER], first)
        taught = Row(ids, first)
    cut = block.offsets[first][0]
    last = block.offsets[len(asked.ids) - 1][1]
    return Fact(asked, taught, question, block.text[:cut], block.text[cut:last].strip(), block.source, turns)


def batch_of(rows: Sequence[Row]) -> Batch:
    """Rows padded on the right, as one batch."""
    lengths = [len(row.ids) for row in rows]
    ids = torch.zeros(len(rows), max(lengths), dtype=torch.int64)
    labels = torch.full_like(ids, IGNORED)
    for i, row in enumerate(rows):
        own = torch.tensor(row.ids)
        ids[i, : len(own)] = own
        labels[i, row.first : len(own)] = own[row.first :]
    labels[:, 0] = IGNORED
    normaliser = float(max(1, int((labels != IGNORED).sum())))
    return Batch(
        ids=ids,
        labels=labels,
        lengths=torch.tensor(lengths),
        normaliser=normaliser,
        examples=float(len(rows)),
        tokens=float(sum(lengths)),
    )


def in_batches(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Numbers of rows, `BATCH` of similar length at a time."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    return (order[start : start + BATCH] for start in range(0, len(order), BATCH))


def recall(task: CausalLM, rows: Sequence[Row]) -> list[float]:
    """(rows,) how well each row's labelled tokens are known: the geometric mean of their probabilities, from 0 to 1; 0
    if the model's outputs are not finite.

    TOFU's probability (arXiv:2401.06121, section 3.2): P(a | q)^(1 / |a|).
    """
    return [value or 0.0 for value in recall_or_none(task, rows)]


def recall_or_none(task: CausalLM, rows: Sequence[Row]) -> list[float | None]:
    """(rows,) `recall`; None if the logits are NaN or infinite, as those of a destroyed model."""
    found: list[float | None] = [None] * len(rows)
    for chosen in in_batches(rows):
        batch = batch_of([rows[i] for i in chosen])
        logits, labels = task.row_logits(batch), batch.labels[:, 1:]
        target, sums = labels[labels >= 0].to(logits.device), logits.logsumexp(-1)
        log_p = logits.gather(1, target[:, None])[:, 0] - sums
        counts = (labels >= 0).sum(1).tolist()
        for i, own, whole in zip(chosen, log_p.cpu().split(counts), sums.cpu().split(counts), strict=True):
            if len(own) and torch.isfinite(whole).all():  # a forbidden token has a logit of -inf, which is allowed here
                found[i] = float(own.double().mean().exp())
    return found
