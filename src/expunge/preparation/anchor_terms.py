"""Finding a target's anchored terms and their translations without any outside service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from expunge.preparation.anchor_counts import Gain, TermCounts
from expunge.preparation.anchor_selection import select_terms
from expunge.preparation.anchor_translations import Translator, watched_words
from expunge.preparation.anchors import WORD, AnchorDictionary


def build_dictionary(
    blocks: Iterable[tuple[str, Sequence[Gain] | None]], max_terms: int, seed: int
) -> AnchorDictionary:
    """Find a target's terms and translate them, in one pass over its blocks; memory does not grow with it.

    Args:
        blocks: (text, gains) pairs; gains are (first character, one after the last, nats) of a block's tokens, empty or
            None where they were not computed.
        max_terms: keep at most this many terms, those that weigh most.
        seed: decides the draw of the translations.
    """
    counts = TermCounts(watched_words())
    for text, gains in blocks:
        counts.add(text, gains)
    candidates = select_terms(counts, max_terms)
    taken = {word.lower() for candidate in candidates for word in WORD.findall(candidate.term)}
    translator = Translator(taken, counts.watched, seed)
    anchors = [anchor for candidate in candidates if (anchor := translator.anchor(candidate))]
    left_out = len(candidates) - len(anchors)
    notes = [f"{left_out} terms were left out: no fitting translation was free"] if left_out else []
    return AnchorDictionary(anchors, notes)
