"""The wanted text instead of each block of the forget set, if the data has such pairs, and its likelihood."""

from __future__ import annotations

from typing import Any

from expunge.errors import RecipeError
from expunge.kinds.language.signals.reference_nll import ReferenceNLL
from expunge.kinds.language.signals.signal import Signal, Source
from expunge.kinds.language.token_dataset import Lookup, TokenTable


class Preferred(Signal):
    """A batch of as many examples, each the wanted text instead of the forget set's; without one none is trained on."""

    name = "preferred"
    is_batch = True

    def made(self, source: Source) -> Lookup:
        return preferred_table(source).batch

    def choose(self, source: Source, rows: list[int], limit: int | None) -> list[int]:
        lengths = preferred_table(source).lengths
        return [row for row in rows if lengths[row] > 1]


class PreferredReferenceNLL(ReferenceNLL):
    """(examples,) nats: `reference_nll` of the batch that the signal `preferred` gives."""

    name = "preferred_reference_nll"

    def key(self, source: Source) -> dict[str, Any]:
        return super().key(source) | {"pairs": True}

    def table(self, source: Source) -> TokenTable:
        return preferred_table(source)


def preferred_table(source: Source) -> TokenTable:
    """The wanted texts, a block for each of the forget set's; of one token or none if there is none.

    Raises:
        RecipeError: the forget set has no pairs.
    """
    if source.table.preferred is None:
        raise RecipeError(
            f"the method {type(source.method).__name__} needs pairs, an unwanted text and the same as it is wanted",
            seen="a forget set without any",
            next_step="give a folder with a table of such pairs (docs/toxicity.md), or another method",
        )
    return source.table.preferred
