"""What an audit asks for: facts, each with what stands before it, and how much of one a model still knows."""

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
"tokens of a passage that are given, and that are asked for; Carlini et al. (arXiv:2202.07646) ask for 50 after 50"
ANSWER = 64
"tokens of an answer that are asked for, at most"
BATCH = 16
"facts in a forward pass"
FEWEST = 4
"facts below which nothing can be told: half of them are held back"


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens, of which those from `first` on carry a label."""

    ids: tuple[int, ...]
    first: int


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact: a question with its answer, or a passage and how it goes on.

    Attributes:
        asked: its tokens; the answer, or the continuation, is labelled.
        taught: the same as it is trained on: of a passage all tokens are labelled.
        question: what is asked, of a question.
        turns: what was said before, of a question within a conversation; the question is the last of them.
        before, answer: as text, the rendered prompt and what should follow.
        source: where it stands.
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
    """Facts in the order of the text. The first half is what an attacker is given, the second is held back from it, so
    that facts which stand together are not on both sides, nor those about one person where it is known which are."""

    every: tuple[Fact, ...]
    about: tuple[int, ...] = ()
    "numbers of what each fact is about: a person, a document; none where nothing is known of it"

    @property
    def groups(self) -> list[int] | None:
        """(facts,) which belong together; None where none do, or of too few groups."""
        return in_groups(self.about)

    def some(self, number: int, seed: int) -> Facts:
        """So many of them, drawn by the seed, in the order of the text; all, where there are no more."""
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
        """Of what results depend on."""
        return storage.digest_value([[list(fact.asked.ids), fact.asked.first] for fact in self.every])

    def shown(self, numbers: Sequence[int], said: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
        """What a page shows of the facts of these numbers; `said` is what each model says to them, in their order."""
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
    """At most `wanted` facts of a text, evenly spread over it: question rows as they are, plain text in passages.

    Args:
        rows_together: so many questions in a row are about the same; passages are where they are of one document.

    Raises:
        DataError: there are fewer than four.
    """

    passage_of: dict[str, int] = {}

    def noted(texts: Iterable[Document]) -> Iterator[Document]:
        """The same, while it is noted of which passage each piece is."""
        number = 0
        for each in texts:
            number += not each.continues
            passage_of[each.source] = number
            yield each

    def able() -> Iterator[Block | Document]:
        """Passages and questions in the order of the text; questions are cut into tokens only where they are chosen."""
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
    """Numbers of rows, `BATCH` of like length at a time."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    return (order[start : start + BATCH] for start in range(0, len(order), BATCH))


def recall(task: CausalLM, rows: Sequence[Row]) -> list[float]:
    """(rows,) how well each row's labelled tokens are known: the geometric mean of their probabilities, from 0 to 1; 0 where
    the model computes no numbers.

    TOFU's probability (arXiv:2401.06121, section 3.2): P(a | q)^(1 / |a|).
    """
    return [value or 0.0 for value in recall_or_none(task, rows)]


def recall_or_none(task: CausalLM, rows: Sequence[Row]) -> list[float | None]:
    """(rows,) `recall`; None where the logits are NaN or infinite, as those of a destroyed model are."""
    found: list[float | None] = [None] * len(rows)
    for chosen in in_batches(rows):
        batch = batch_of([rows[i] for i in chosen])
        logits, labels = task.row_logits(batch), batch.labels[:, 1:]
        target, sums = labels[labels >= 0].to(logits.device), logits.logsumexp(-1)
        log_p = logits.gather(1, target[:, None])[:, 0] - sums
        counts = (labels >= 0).sum(1).tolist()
        for i, own, whole in zip(chosen, log_p.cpu().split(counts), sums.cpu().split(counts), strict=True):
            if (
                len(own) and torch.isfinite(whole).all()
            ):  # a token that is forbidden has a logit of -inf, and that is a number here
                found[i] = float(own.double().mean().exp())
    return found
