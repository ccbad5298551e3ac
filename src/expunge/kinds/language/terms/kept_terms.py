"""Compare terms with the retain set: a name about as frequent there does not belong only to the target."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from expunge.data.text.document import Document
from expunge.data.text.words import words
from expunge.kinds.language.measures.familiarity import TargetTerms
from expunge.kinds.language.terms.anchors import Anchor, AnchorDictionary

MIN_RATIO = 4.0
"ratio of frequencies in target and retain set from which a term is the target's; the same as for ordinary text"
CHANCE = 0.05
"probability of at least this many of a term's occurrences in the target if the retain set has it equally often"
LISTED = 12
"terms that a note names"


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a term occurs in the target and in the retain set, and the number of words in each."""

    target: int
    target_words: int
    kept: int
    kept_words: int

    @property
    def log_ratio(self) -> float:
        """Log-ratio of the rates in nats, half an occurrence added to both."""
        return math.log((self.target + 0.5) / (self.kept + 0.5) * self.kept_words / self.target_words)

    @property
    def shared(self) -> bool:
        """Whether the retain set has the term about as often: no `MIN_RATIO` times as often in the target, or by
        chance.

        Chance: of all its occurrences, each falls to the target with the target's share of all words; the probability
        that as many do as did, or more (an exact binomial test), is above `CHANCE`. A term that is not in the
        retain set is never shared.
        """
        if not self.kept:
            return False
        ratio = self.target / self.target_words * self.kept_words / self.kept
        return ratio < MIN_RATIO or self.chance() > CHANCE

    def chance(self) -> float:
        """P(X >= target) with X binomial over all occurrences, p the target's share of all words."""
        from scipy.special import bdtrc

        share = self.target_words / (self.target_words + self.kept_words)
        return float(bdtrc(self.target - 1, self.target + self.kept, share))


def rates(
    dictionary: AnchorDictionary, target: Iterable[str], kept: Iterable[Document], more: Sequence[str] = ()
) -> dict[str, Rate]:
    """Occurrences of each term in both, alone or inside a longer one; both are read as streams, once.

    Args:
        more: words to count too, in lower case.
    """
    wanted = frozenset(more)

    def count(texts: Iterable[str]) -> tuple[Counter[str], int]:
        found: Counter[str] = Counter()
        total = 0
        for text in texts:
            here = words(text)
            total += len(here)
            found.update(dictionary.every(text))
            found.update(word for word in here if word in wanted)
        return found, max(1, total)

    ours, our_words = count(target)
    theirs, their_words = count(
        document.text if document.prompt is None or document.continues else f"{document.prompt}\n{document.text}"
        for document in kept
    )
    terms = [*(anchor.term for anchor in dictionary), *more]
    return {term: Rate(max(1, ours[term]), our_words, theirs[term], their_words) for term in terms}


def without_shared(dictionary: AnchorDictionary, of: dict[str, Rate]) -> AnchorDictionary:
    """The terms that belong only to the target, with lower scores for those also in the retain set; notes list the
    dropped ones.

    The score of a term that the retain set lacks is unchanged; that of others is at most the log-ratio of the two rates
    (nats).
    """
    kept: list[Anchor] = []
    shared: list[str] = []
    for anchor in dictionary:
        rate = of[anchor.term]
        if rate.shared:
            shared.append(anchor.term)
        elif rate.kept:
            kept.append(replace(anchor, score=round(min(anchor.score, rate.log_ratio), 2)))
        else:
            kept.append(anchor)
    return AnchorDictionary(kept, [*dictionary.notes, *shared_note(shared)], (*dictionary.shared, *shared))


def shared_note(shared: Sequence[str], quoted: bool = True) -> list[str]:
    """The note on terms that the retain set has about as often; they are forget-set text, and may not be `quoted`."""
    if not shared:
        return []
    more = f" and {len(shared) - LISTED} more" if len(shared) > LISTED else ""
    were, them = ("1 term was", "it") if len(shared) == 1 else (f"{len(shared)} terms were", "them")
    named = f": {', '.join(shared[:LISTED])}{more}" if quoted else ""
    return [f"{were} left out, since the retain set has {them} about as often{named}"]


def alone(terms: TargetTerms, of: dict[str, Rate]) -> TargetTerms:
    """Terms without those that the retain set has about as often."""

    def own(found: Iterable[str]) -> tuple[str, ...]:
        return tuple(term for term in found if not of[term].shared)

    return replace(terms, unique=own(terms.unique), typical=own(terms.typical))
