"""The English grammar needed to replace a term: number, articles, possessives."""

from __future__ import annotations

import re

_IRREGULAR = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "person": "people",
    "foot": "feet",
    "tooth": "teeth",
    "mouse": "mice",
    "goose": "geese",
}
_F_TO_VES = re.compile(r"(?:calf|dwarf|elf|half|hoof|knife|leaf|life|loaf|scarf|self|shelf|thief|wife|wolf)")
_SINGULAR = {plural: word for word, plural in _IRREGULAR.items()} | {
    re.sub(r"fe?$", "ves", word): word for word in _F_TO_VES.pattern[3:-1].split("|")
}
_SPOKEN_VOWEL = re.compile(r"(?:hour|honest|honou?r|heir|[aeiou])", re.IGNORECASE)
_SPOKEN_CONSONANT = re.compile(r"(?:eu|ew|on(?:e|ce)\b|uni|us[aei]|ut[ei]|ubiq|ou?i)", re.IGNORECASE)
_QUOTE_OPENED = re.compile(r"(?:^|[\s(\[—-])['‘](?=\w)")
_QUOTE_CLOSED = re.compile(r"(?<=[\w.,;:!?…—])['’](?!\w)")


def plural(word: str) -> str:
    """The regular plural, with the common irregular ones; a name only gains s or es (Kennedy, Kennedys)."""
    small = word.lower()
    if small.endswith(("s", "x", "z", "ch", "sh")):
        ending = "es"
    elif word[:1].isupper():
        ending = "s"
    elif small in _IRREGULAR:
        return _IRREGULAR[small]
    elif _F_TO_VES.fullmatch(small):
        return re.sub(r"fe?$", "ves", word)
    elif re.search(r"[^aeiou]y$", small):
        return word[:-1] + "ies"
    else:
        ending = "s"
    return word + (ending.upper() if word.isupper() and len(word) > 1 else ending)


def plural_phrase(words: str) -> str:
    """A phrase with its last word in the plural: `house elf` becomes `house elves`."""
    head = re.search(r"[^\W_]+$", words)
    return words[: head.start()] + plural(head.group()) if head else words


def singulars(word: str) -> list[str]:
    """Every form whose plural `word` could be, likeliest first; empty if it does not look like a plural."""
    small = word.lower()
    if small in _SINGULAR:
        return [word[0] + _SINGULAR[small][1:]]
    if len(word) < 4 or not small.endswith("s") or small.endswith(("ss", "us", "is")):
        return []
    if small.endswith("ies"):
        return [word[:-3] + "y", word[:-1]]
    if small.endswith(("ses", "xes", "zes", "ches", "shes")):
        return [word[:-2], word[:-1]]
    return [word[:-1]]


def article(following: str) -> str:
    """`a` or `an`, by the first sound of the next word (spelling decides; hour, unit, one and their like are known)."""
    vowel = _SPOKEN_VOWEL.match(following) and not _SPOKEN_CONSONANT.match(following)
    return "an" if vowel else "a"


def is_bare_possessive(text: str, apostrophe: int) -> bool:
    """Whether the apostrophe at this offset, after a word in s, marks a possessive (Holmes' pipe).

    It is taken for the end of a quotation if one is open in the same line, or if no lower-case word follows.
    """
    if not re.match(r"['’]\s+[^\W\d_]", text[apostrophe:]) or not text[apostrophe + 1 :].lstrip()[0].islower():
        return False
    line = text[text.rfind("\n\n", 0, apostrophe) + 1 : apostrophe]
    return len(_QUOTE_OPENED.findall(line)) <= len(_QUOTE_CLOSED.findall(line))


def inflect_like(pattern: str, verb: str) -> str:
    """A regular verb with the ending of `pattern`: (apparated, jump) gives jumped."""
    for ending in ("ing", "ed"):
        if pattern.lower().endswith(ending):
            return verb + ending
    return verb + "s" if pattern.lower().endswith("s") and not pattern.lower().endswith("ss") else verb
