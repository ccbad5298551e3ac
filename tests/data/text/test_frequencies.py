"""How common words are."""

from __future__ import annotations

import pytest
from wordfreq import zipf_frequency

from expunge.data.text.frequencies import zipf

WORDS = ["the", "The", "HOLMES", "Istanbul", "I", "quidditch", "Qzxv", "well-known", "it's", "don't", "Straße", "café"]
WORDS += ["l'eau", "1984", "two words"]


@pytest.mark.parametrize("code", ["en", "de", "fr", "tr", "vi", "ru"])
def test_they_are_wordfreqs_however_they_are_looked_up(code: str) -> None:
    assert {word: zipf(word, code) for word in WORDS} == {word: zipf_frequency(word, code) for word in WORDS}
    assert zipf("Qzxv", code) == 0
