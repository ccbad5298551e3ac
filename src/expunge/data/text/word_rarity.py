"""How common a word is in ordinary text: one place for every measure and every list of names."""

from __future__ import annotations

from expunge.data.text import frequencies


def rarity(word: str, language: str = "en") -> float:
    """Zipf frequency: log10 of the word's occurrences in a billion words of ordinary text.

    7 for "the", 3 for one word in a million, 0 for words that wordfreq does not know. Of several words together the
    joint frequency, lower than that of the rarest.

    Args:
        word: a word or phrase, in any case.
        language: a code that wordfreq has a list for, such as "en" or "de".

    Raises:
        LookupError: wordfreq has no list for the language.
    """
    return frequencies.zipf(word, language)
