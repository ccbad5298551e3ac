"""The base model's probability of unwanted words at each position, and its prediction without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expunge.errors import RecipeError
from expunge.kinds.language.signals.reference_tokens import said_and
from expunge.kinds.language.signals.retain_labels import reference_labels
from expunge.kinds.language.signals.signal import Signal, Source
from expunge.kinds.language.signals.unwanted_words import SEEN, unwanted_tokens, weighted_tables
from expunge.kinds.language.token_dataset import Lookup
from expunge.train.step import SampledLabels


@dataclass(frozen=True, slots=True)
class UnwantedSaid:
    """What the base model said of a batch, unwanted tokens apart."""

    mass: Tensor
    "(rows,) the probability of all unwanted tokens together"
    tokens: Tensor
    "(unwanted,) their numbers in the vocabulary"
    said: SampledLabels
    "its distribution over all other tokens"

    def to(self, device: torch.device) -> UnwantedSaid:
        return UnwantedSaid(self.mass.to(device), self.tokens.to(device), self.said.to(device))


class UnwantedMass(Signal):
    """An `UnwantedSaid`: how likely unwanted tokens were to the base model, and its distribution over the others.

    Args:
        mark: weight from which a word is unwanted; see `UnwantedWords`.
    """

    name = "unwanted_mass"
    per = "row"
    doing = "computing the base model's predictions on the forget set"

    def __init__(self, mark: float = 0.0) -> None:
        self.mark = mark
        self._tokens: tuple[str, list[int]] | None = None

    def tokens(self, source: Source) -> list[int]:
        """The unwanted vocabulary. Raises `RecipeError` if it is empty."""
        blocks = source.table.folder.name + source.blocks()
        if self._tokens is None or self._tokens[0] != blocks:
            self._tokens = blocks, unwanted_tokens(weighted_tables(source), self.mark)
        found = self._tokens[1]
        if not found:
            raise RecipeError(
                "no token is unwanted: no word distinguishes the forget set from the retain set",
                seen=f"weights of words below {self.mark:g}, or tokens of fewer than {SEEN} occurrences",
                next_step="give a lower --method.mark, or more text",
            )
        return found

    def key(self, source: Source) -> dict[str, Any]:
        of = {"forget": source.table.folder.name, "rows": source.blocks(), "unwanted": self.tokens(source)}
        return source.key() | of | {"seed": source.run.recipe.seed}

    def make(self, source: Source, path: Path) -> None:
        rows, seed, tokens = range(len(source.table)), source.run.recipe.seed, self.tokens(source)
        reference_labels(source.base(), source.table, rows, path, seed, source.run.show.update, cleared=tokens)

    def lookup(self, source: Source, path: Path) -> Lookup:
        read = said_and(path, "cleared_mass.npy")
        tokens = torch.tensor(self.tokens(source))

        def found(rows: Sequence[int]) -> UnwantedSaid:
            mass, said = read(rows)
            return UnwantedSaid(mass, tokens, said)

        return found
