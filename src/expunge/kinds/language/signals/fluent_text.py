"""Fluent text about something else, after the beginning of each block of the forget set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from expunge.core.order import random_seed
from expunge.errors import ModelError
from expunge.kinds.language.sampling import keeps_keys, next_logits, prefill
from expunge.kinds.language.signals.divided import by_block
from expunge.kinds.language.signals.signal import Signal, Source
from expunge.kinds.language.targets import introduced
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import Lookup, TableWriter, TokenTable
from expunge.train.step import IGNORED

BEGINNING = 128
"tokens of a block that the text continues, at most; no more than half of it"


@dataclass(frozen=True)
class FluentText(Signal):
    """A batch of as many examples: the beginning of each block, `opening`, and `tokens` with which the base model
    continues.

    They are drawn from softmax(log p + `guidance` (log p of a novice - log p of an expert)), where `novice` or `expert`
    is put before all of it, after the token that begins a text. The labels cover what follows the beginning.
    """

    expert: str
    novice: str
    opening: str
    guidance: float
    tokens: int

    name = "fluent_text"
    is_batch = True
    version = 2
    doing = "writing other text after the beginnings of the forget set"

    def make(self, source: Source, path: Path) -> None:
        before, wanted, made = self.tokens_of(source, self.opening), set(source.rows), by_block(self, source)
        done = 0
        with TableWriter(path) as table:
            for row in range(len(source.table)):
                if row not in wanted:
                    table.append([], [])
                    continue
                start, new = self.beginning(source, row), [*before, *next(made)[1].tolist()]
                table.append([*start, *new], [IGNORED] * len(start) + new)
                done += 1
                source.run.show.update(done / len(wanted))

    def block(self, source: Source, row: int) -> Tensor:
        """(new,) the tokens that are written for a block."""
        task, start, before = source.base(), self.beginning(source, row), self.tokens_of(source, self.opening)
        others = ([], *(self.tokens_of(source, text) for text in (self.expert, self.novice)))
        contexts = [[*introduced(task, text, start), *before] for text in others]
        return torch.tensor(self.written(task, contexts, random_seed(source.run.recipe.seed, self.name, row)))

    @staticmethod
    def beginning(source: Source, row: int) -> list[int]:
        """The part of a block that the text continues."""
        ids = source.table.ids_of(row)
        return ids[: max(1, min(BEGINNING, len(ids) // 2))]

    @staticmethod
    def tokens_of(source: Source, text: str) -> list[int]:
        """The tokens of a text, without its beginning token."""
        return list(source.base.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def lookup(self, source: Source, path: Path) -> Lookup:
        return TokenTable(path).batch

    @torch.inference_mode()
    def written(self, task: CausalLM, contexts: Sequence[Sequence[int]], seed: int) -> list[int]:
        """Tokens drawn after the text with (nothing, expert, novice) before it, up to the token that ends one.

        Raises:
            ModelError: the model is recurrent.
        """
        if not keeps_keys(task):
            raise ModelError(
                f"no text is drawn from three contexts together with {type(task.model).__name__}: it is recurrent",
                next_step="leave that part of the loss out: --method.fluency_weight 0",
            )
        generator, made = torch.Generator().manual_seed(seed), list[int]()
        with task.writing():
            logits, mask, cache = prefill(task, contexts)
            while len(made) < self.tokens:
                plain, expert, novice = logits.float().log_softmax(-1).cpu()
                p = (plain + self.guidance * (novice - expert)).softmax(-1)
                made.append(int(torch.multinomial(p, 1, generator=generator)))
                if made[-1] == task.tokenizer.eos_token_id or len(made) == self.tokens:
                    break
                mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
                logits = next_logits(task, torch.full((len(mask), 1), made[-1], device=task.device), mask, cache)
        return made
