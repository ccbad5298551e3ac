"""Find a target's anchored terms and their translations without any outside service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from expunge.data.text.language import ENGLISH_ASSUMED, Language
from expunge.data.text.words import words
from expunge.kinds.language.terms.anchors import Anchor, AnchorDictionary
from expunge.kinds.language.terms.counts import Gain, TermCounts
from expunge.kinds.language.terms.foreign_names import NameDraw
from expunge.kinds.language.terms.lifted_terms import lifted_terms
from expunge.kinds.language.terms.selection import Selection
from expunge.kinds.language.terms.translations import Translator, watched_words


def build_dictionary(
    blocks: Iterable[tuple[str, Sequence[Gain] | None]],
    max_terms: int,
    seed: int,
    language: Language = ENGLISH_ASSUMED,
) -> AnchorDictionary:
    """Find a target's terms and translate them, in one pass over its blocks; memory does not grow with it.

    Args:
        blocks: (text, gains) pairs; gains are (first character, one after the last, nats) of a block's tokens, empty or
            None if they were not computed.
        max_terms: keep at most this many terms, those that weigh most.
        seed: seed of the draw of the translations.
        language: of the target; terms in other languages than English are found without grammar and without gains
            (`lifted_terms`), and translated to people's names.
    """
    if language.code != "en":
        return _lifted_dictionary((text for text, _ in blocks), max_terms, seed, language)
    counts = TermCounts(watched_words())
    for text, gains in blocks:
        counts.add(text, gains)
    candidates = Selection(counts).candidates(max_terms)
    taken = {word.lower() for candidate in candidates for word in words(candidate.term)}
    translator = Translator(taken, counts.watched, seed)
    return _translated([translator.anchor(candidate) for candidate in candidates], "no fitting translation was free")


def _lifted_dictionary(texts: Iterable[str], max_terms: int, seed: int, language: Language) -> AnchorDictionary:
    """Terms of a language whose grammar is not known, each word that is a term translated to a person's name."""
    found, counts = lifted_terms(texts, language, max_terms)
    singles = {each.term for each in found if " " not in each.term}
    draw = NameDraw(language.code, {*counts.middle, *counts.start, *counts.small}, seed)
    anchors = []
    for each in found:
        names = [draw.name(word) if word in singles else word for word in each.term.split()]
        anchor = Anchor(each.term, " ".join(filter(None, names)), "name", each.count, round(each.score, 2))
        anchors.append(None if None in names else anchor)
    return _translated(anchors, "no replacement name was free")


def _translated(anchors: Sequence[Anchor | None], without: str) -> AnchorDictionary:
    """The terms that have a translation; a note says how many are `without`."""
    found = [anchor for anchor in anchors if anchor is not None]
    left_out = len(anchors) - len(found)
    return AnchorDictionary(found, [f"{left_out} terms were left out: {without}"] if left_out else [])
