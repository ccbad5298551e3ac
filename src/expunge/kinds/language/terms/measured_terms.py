"""The terms of a target that show familiarity with it: found from its text and a control, so the same for every method
and model."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

from expunge.data.text import frequencies
from expunge.data.text.frequencies import ordinary_words
from expunge.data.text.language import ENGLISH_ASSUMED, Language
from expunge.kinds.language.measures.familiarity import TargetTerms, times_found
from expunge.kinds.language.terms.anchors import AnchorDictionary

MAX_UNIQUE, MAX_TYPICAL = 400, 40
ENOUGH = 8
"number of repeated terms from which terms that occur once are left out: they may be chance names of a sampled text"
UNIQUE_LIFT = 3.4
"minimum log-ratio of a unique term's frequency to ordinary text (thirty times)"
TYPICAL_LIFT = 2.7
"minimum log-ratio of a typical word's frequency to ordinary text (fifteen times)"
ORDINARY_ZIPF = 3.0
"words below this (once in a million) are rare everywhere: seeing them is more than 'typical'"
EVERYDAY_ZIPF = 4.0
"a word in lower case from this on (ten in a million), such as author or named, belongs to no target, however frequent"
UNIQUE_SHARE, TYPICAL_SHARE = 0.1, 1 / 3
"a term that the control has at this share of the target's rate, or more, is not the target's"


def target_terms(
    texts: Iterable[str],
    dictionary: AnchorDictionary,
    language: Language = ENGLISH_ASSUMED,
    control: Iterable[str] = (),
) -> TargetTerms:
    """Unique terms (the dictionary's, highest score first) and typical words of the target, read as a stream.

    A unique term is a name or thing that ordinary text lacks: at least thirty times as frequent in the target as
    in ordinary text, not an everyday word in lower case, and rare in the control. A typical word is fifteen times
    commoner than in ordinary text and at least three times commoner than in the control. Without word frequencies of
    the language there are no typical words.

    Args:
        control: similar text on other subjects; terms shared with it are not the target's. It is held in memory.
    """
    counts: Counter[str] = Counter()
    total = 0
    for text in texts:
        words, count = ordinary_words(text, language)
        counts.update(words)
        total += count
    others = "\n\n".join(control)
    words, count = ordinary_words(others, language)
    elsewhere = Counter(words if language.unspaced else re.findall(r"\w+", others.lower()))
    ratio = total / max(1, count)
    anchors = [
        anchor
        for anchor in sorted(dictionary, key=lambda anchor: -anchor.score)
        if _is_rare(anchor.term, anchor.count, total, language)
        and times_found(others, anchor.term) * ratio < max(1, anchor.count) * UNIQUE_SHARE
    ]
    again = [anchor for anchor in anchors if anchor.count >= 2]
    unique = [anchor.term for anchor in (again if len(again) >= ENOUGH else anchors)][:MAX_UNIQUE]
    inside = {word.lower() for term in unique for word in re.findall(r"\w+", term)}
    lifts = {}
    for word, count in counts.items():
        zipf = frequencies.zipf(word, language.frequencies) if language.frequencies and count >= 4 else 0.0
        if zipf < ORDINARY_ZIPF or word in inside or elsewhere[word] * ratio >= count * TYPICAL_SHARE:
            continue
        lift = math.log(count / total) - (zipf - 9) * math.log(10)
        if lift >= TYPICAL_LIFT:
            lifts[word] = lift
    typical = sorted(lifts, key=lambda word: -lifts[word] * math.log(1 + counts[word]))[:MAX_TYPICAL]
    return TargetTerms(tuple(unique), tuple(typical), language.frequencies or "en")


def _is_rare(term: str, count: int, total: int, language: Language) -> bool:
    """Whether ordinary text lacks the term: by its frequency there; for a word in lower case only by that."""
    zipf = frequencies.zipf(term, language.frequencies) if language.frequencies else 0.0
    if term == term.lower() and language.capitals != "none" and zipf >= EVERYDAY_ZIPF:
        return False
    return not zipf or math.log(max(1, count) / max(1, total)) - (zipf - 9) * math.log(10) >= UNIQUE_LIFT
