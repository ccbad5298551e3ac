"""The terms of a target that show familiarity with it: found from its text alone, so equal for every method and model."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from expunge.data.frequencies import ordinary_words
from expunge.data.language import ENGLISH_ASSUMED, Language
from expunge.measures.familiarity import TargetTerms
from expunge.measures.word_rarity import rarity
from expunge.preparation.anchors import AnchorDictionary

MAX_UNIQUE, MAX_TYPICAL = 400, 40
ENOUGH = 8
"terms that occur more than once, from which on those that occur once are left out: chance names of a sampled text"
TYPICAL_LIFT = 2.7
"nats by which a typical word is commoner in the target than in ordinary text (fifteen times)"
ORDINARY_ZIPF = 3.0
"words below this (once in a million) are rare everywhere: seeing them says more than 'typical'"


def target_terms(
    texts: Iterable[str], dictionary: AnchorDictionary, language: Language = ENGLISH_ASSUMED
) -> TargetTerms:
    """Unique terms (the dictionary's, highest score first) and typical words of the target, read as a stream.

    Without word frequencies of the language there are no typical words.
    """
    counts: Counter[str] = Counter()
    total = 0
    for text in texts:
        words, count = ordinary_words(text, language)
        counts.update(words)
        total += count
    anchors = sorted(dictionary, key=lambda anchor: -anchor.score)
    again = [anchor for anchor in anchors if anchor.count >= 2]
    unique = [anchor.term for anchor in (again if len(again) >= ENOUGH else anchors)][:MAX_UNIQUE]
    inside = {word.lower() for term in unique for word in re.findall(r"\w+", term)}
    lifts = {}
    for word, count in counts.items():
        zipf = rarity(word, language.frequencies) if language.frequencies and count >= 4 else 0.0
        if zipf < ORDINARY_ZIPF or word in inside:
            continue
        lift = math.log(count / total) - (zipf - 9) * math.log(10)
        if lift >= TYPICAL_LIFT:
            lifts[word] = lift
    typical = sorted(lifts, key=lambda word: -lifts[word] * math.log(1 + counts[word]))[:MAX_TYPICAL]
    return TargetTerms(tuple(unique), tuple(typical), language.frequencies or "en")
