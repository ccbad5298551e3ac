"""The language of a text: found from the text or given, and what is known of it for measuring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from expunge.data.text.words import words
from expunge.errors import RecipeError, nearest

EXCERPTS = 64
"excerpts of a text by which its language is found: at most so many, evenly spread"
EXCERPT = 600
"characters of an excerpt"
SURE = 0.4
"probability from which an excerpt says something of the language"
ENGLISH = 0.22
"share of an excerpt's words that are English words of grammar, from which it is English"
MIXED = 0.1
"share of excerpts in a second language, from which that is said"

NAMES = dict(
    entry.strip().split(" ", 1)
    for entry in """af Afrikaans|am Amharic|ar Arabic|az Azerbaijani|be Belarusian|bg Bulgarian|bn Bengali|ca Catalan
    |cs Czech|cy Welsh|da Danish|de German|el Greek|en English|eo Esperanto|es Spanish|et Estonian|eu Basque|fa Persian
    |fi Finnish|fil Filipino|fr French|ga Irish|gl Galician|gu Gujarati|ha Hausa|he Hebrew|hi Hindi|hr Croatian
    |hu Hungarian|hy Armenian|id Indonesian|ig Igbo|is Icelandic|it Italian|ja Japanese|jv Javanese|ka Georgian|kk Kazakh
    |km Khmer|kn Kannada|ko Korean|ku Kurdish|ky Kyrgyz|la Latin|lb Luxembourgish|lo Lao|lt Lithuanian|lv Latvian
    |mg Malagasy|mk Macedonian|ml Malayalam|mn Mongolian|mr Marathi|ms Malay|mt Maltese|my Burmese|nb Norwegian|ne Nepali
    |nl Dutch|nn Norwegian (Nynorsk)|oc Occitan|or Odia|pa Punjabi|pl Polish|ps Pashto|pt Portuguese|ro Romanian
    |ru Russian|sa Sanskrit|sh Serbo-Croatian|si Sinhala|sk Slovak|sl Slovene|so Somali|sq Albanian|sr Serbian|sv Swedish
    |sw Swahili|ta Tamil|te Telugu|th Thai|tr Turkish|ug Uyghur|uk Ukrainian|ur Urdu|uz Uzbek|vi Vietnamese|xh Xhosa
    |yo Yoruba|zh Chinese|zu Zulu""".replace("\n", "").split("|")
)
"languages that may be named in a recipe, and more that may be detected"
_SAME = {
    "no": "nb",
    "tl": "fil",
    "wuu": "zh",
    "yue": "zh",
    "ary": "ar",
    "arz": "ar",
    "hbo": "he",
    "bs": "hr",
    "iw": "he",
}
"codes of the detector, or older ones, and the language by whose figures they are measured"
_LISTS = {"hr": "sh", "sr": "sh", "nn": "nb"}
"languages that wordfreq lists under another code"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GRAMMAR = _words(
    """the of and to in is was that he it for with as his on be at by had not are but from or have an they which you were
    her she this their there been its would who has when what him all my your i we so said if no out up into do"""
)
_NO_CAPITALS = _words("am ar bn fa gu he hi ja ka km kn ko lo ml mr my ne or pa ps sa si ta te th ug ur zh")
_CAPITAL_NOUNS = frozenset(["de", "lb"])
_UNSPACED = _words("ja km lo my th zh")


@dataclass(frozen=True, slots=True)
class Language:
    """A language, and how it came to be taken for a text's."""

    code: str
    "ISO 639, such as `de`"
    how: Literal["given", "detected", "assumed"] = "detected"
    "`given` in the recipe, `detected`, or `assumed`: nothing was detected"
    share: float = 1.0
    "of the excerpts that said something, those in this language; 1 if it was given"
    also: tuple[str, ...] = ()
    "other languages that a tenth of the excerpts or more are in"

    @property
    def name(self) -> str:
        return NAMES.get(self.code, self.code)

    @property
    def frequencies(self) -> str | None:
        """The code by which wordfreq knows how common the language's words are; None if it does not."""
        code = _LISTS.get(self.code, self.code)
        return code if code in _listed() else None

    @property
    def capitals(self) -> Literal["names", "nouns", "none"]:
        """What a capital inside a sentence marks: names, every noun (German), or nothing: the script has none."""
        if self.code in _CAPITAL_NOUNS:
            return "nouns"
        return "none" if self.code in _NO_CAPITALS else "names"

    @property
    def unspaced(self) -> bool:
        """Whether words are written without spaces between them."""
        return self.code in _UNSPACED

    def row(self) -> dict[str, Any]:
        """As it stands in a record."""
        found = {"code": self.code, "name": self.name, "how": self.how, "share": round(self.share, 3)}
        return found | {"also": [NAMES.get(code, code) for code in self.also]}


ENGLISH_ASSUMED = Language("en", "assumed")


def language_of(texts: Iterable[str], wanted: str = "auto") -> Language:
    """The language that most of a text is in; the one that is `wanted`, unless that is `auto`.

    Detection is py3langid's (a naive Bayes model over byte sequences, trained on 139 languages, in its package) over
    at most `EXCERPTS` excerpts; excerpts with many English words of grammar need none. It needs no network and always
    says the same of the same text.

    Args:
        texts: read as a stream, once; not at all where the language is given.

    Raises:
        RecipeError: `wanted` is not a code that is known.
    """
    if wanted != "auto":
        return given_language(wanted)
    codes = (_english(excerpt) or _identified(excerpt) for excerpt in excerpts(texts))
    votes = Counter(code for code in codes if code is not None)
    if not votes:
        return ENGLISH_ASSUMED
    total = votes.total()
    (first, count), *others = sorted(votes.items(), key=lambda item: (-item[1], item[0]))
    also = tuple(code for code, number in others if number / total >= MIXED)
    return Language(first, "detected", count / total, also)


def given_language(wanted: str) -> Language:
    """The language of a code such as `de`, `pt-BR` or `zh_Hant`. Raises RecipeError where it is not known."""
    code = wanted.replace("_", "-").split("-")[0].lower()
    code = _SAME.get(code, code)
    if code not in NAMES:
        by_name = {name.lower(): key for key, name in NAMES.items()}
        near = by_name.get(wanted.lower()) or nearest(code, NAMES)
        raise RecipeError(
            "data.language is not a language that is known",
            seen=wanted,
            allowed="auto, or a code of two letters: " + ", ".join(NAMES),
            next_step=f"did you mean {near}?" if near else None,
        )
    return Language(code, "given")


def excerpts(texts: Iterable[str]) -> list[str]:
    """At most `EXCERPTS` beginnings of texts, evenly spread over the stream; short texts in a row count as one."""
    found: list[str] = []
    step, number, pending = 1, 0, ""
    for text in texts:
        pending += (" " if pending else "") + text[:EXCERPT]
        if len(pending) < EXCERPT // 3:
            continue
        if number % step == 0:
            found.append(pending)
            if len(found) == 2 * EXCERPTS:
                found, step = found[::2], step * 2
        number, pending = number + 1, ""
    if pending and len(found) < EXCERPTS:
        found.append(pending)
    return found[:: -(-len(found) // EXCERPTS)] if found else []


def _english(text: str) -> str | None:
    """`en` where so much of the text is English grammar that nothing else needs to be asked."""
    found = [word.lower() for word in words(text)]
    grammar = sum(word in _GRAMMAR for word in found)
    return "en" if len(found) >= 8 and grammar >= ENGLISH * len(found) else None


def _identified(text: str) -> str | None:
    """A code of the detector; None if it is not sure, or the text is not a language's (figures, code)."""
    if sum(character.isalpha() for character in text) < 12:
        return None
    code, probability = _identifier().classify(text)
    code = _SAME.get(code, code)
    return code if probability >= SURE and code not in ("zxx", "und") else None


@lru_cache(maxsize=1)
def _identifier() -> Any:
    import io
    from types import SimpleNamespace
    from unittest.mock import patch

    from py3langid import modelio
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    # It unpacks its model through a temporary file; in memory no full disk stands in the way.
    with patch.object(modelio, "tempfile", SimpleNamespace(TemporaryFile=lambda suffix: io.BytesIO())):
        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@lru_cache(maxsize=1)
def _listed() -> frozenset[str]:
    from wordfreq import available_languages

    return frozenset(available_languages())


def language_notes(language: Language, familiarity: bool) -> list[str]:
    """What a reader of a run's figures must know of the language they were measured in; nothing of English text."""
    code, name = language.code, language.name
    if code == "en":
        notes = [f"language: English, {language.how}"] if language.also else []
        if language.how == "assumed":
            notes = ["language: none was detected, and the text is measured as English (data.language says otherwise)"]
        return notes + _also(language)
    share = f" ({language.share:.0%} of the text)" if language.how == "detected" and language.share < 0.995 else ""
    notes = [f"language: {name}, {language.how}{share}", *_also(language)]
    if language.unspaced:
        notes.append(f"{name} puts no space between words: verbatim recall and overlap are measured by characters")
    if familiarity:
        notes += _about_terms(language)
    notes.append(
        "general knowledge is asked in English, and so is the text that is sampled from the model: neither says how "
        f"well it keeps {name} (evaluation.ordinary_text in {name} does)"
    )
    return notes


def toxicity_notes(language: Language) -> list[str]:
    """What a reader must know of toxicity that was measured in another language than English."""
    if language.code == "en":
        return _also(language)
    return [
        f"language: {language.name}, {language.how}",
        *_also(language),
        f"the scorer of toxicity that comes with Expunge, the words that a refusal begins with, and the names of groups "
        f"of people are English: toxicity in {language.name} needs a scorer of that language (toxicity.scorer)",
    ] + (["words to forget cannot be separated in a script without spaces"] if language.unspaced else [])


def _also(language: Language) -> list[str]:
    names = ", ".join(NAMES.get(code, code) for code in language.also)
    return [f"the target holds text in {names} too, which is measured as {language.name}"] if names else []


def _about_terms(language: Language) -> list[str]:
    name = language.name
    if language.frequencies is None and language.capitals != "names":
        return [
            f"no word frequencies of {name} are known, and its script has no capitals: the target's terms cannot be "
            f"found, so familiarity is not measured (evaluation.prompts with `references` says what to look for)"
        ]
    how = {
        "names": "by their capitals and how rare they are elsewhere",
        "nouns": "by how rare they are elsewhere and how alike in other languages, for every noun has a capital",
        "none": "by how rare they are elsewhere alone, for the script has no capitals",
    }[language.capitals]
    if language.frequencies is None:
        how = "by their capitals alone, for no word frequencies of the language are known"
    return [
        f"terms in {name} are found {how}; the grammar of terms (their kinds, plurals, titles) is known of English only, "
        f"so each inflected form is a term of its own, and a term's translation is a person's name"
    ]
