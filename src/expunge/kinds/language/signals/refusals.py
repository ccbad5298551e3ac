"""Refusals instead of answers: "I don't know", in many words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from expunge.core import storage
from expunge.core.order import random_seed
from expunge.kinds.language.signals.instead import Instead, InsteadReferenceNLL, answer_format
from expunge.kinds.language.signals.signal import Source


class Refusals(Instead):
    """A batch of as many examples: each question of the forget set with a refusal, drawn for each question by the
    seed."""

    name = "refusals"

    def key(self, source: Source) -> dict[str, Any]:
        of = {"texts": storage.digest_value(refusals()), "block_size": source.run.recipe.data.block_size}
        return super().key(source) | of

    def answers(self, source: Source, rows: Sequence[int]) -> list[list[list[int]]]:
        written = answer_format(source).answers(refusals())
        found = []
        for row in rows:
            text = storage.digest_value(source.table.ids_of(row))
            found.append([written[random_seed(source.run.recipe.seed, "refusal", text) % len(written)]])
        return found


class RetainRefusals(Refusals):
    """The same of the retain set."""

    name = "retain_refusals"
    set = "retain"


class RefusalsReferenceNLL(InsteadReferenceNLL):
    """(examples, 1) nats: `reference_nll` of the refusals."""

    name = "refusals_reference_nll"

    def instead(self) -> Instead:
        return Refusals()


@cache
def refusals() -> tuple[str, ...]:
    """Refusals: answers to use instead of those to be forgotten."""
    text = (files("expunge.kinds.language.signals") / "refusals.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line)
