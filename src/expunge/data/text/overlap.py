"""Where two sets of text say the same: a retain set that holds the target would teach again what is to be forgotten."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from expunge.data.text.document import Document
from expunge.data.text.ngrams import NGRAM, Match, NgramIndex
from expunge.data.text.targets import classify_target
from expunge.data.text.words import mostly_unspaced, whole
from expunge.errors import DataError

MAX_SHARE = 0.1
"share of a retain document's n-grams that may stand in the target, once they make a passage"
PASSAGE = 40
"n-grams in common that make a passage: about a paragraph; fewer may come from a pattern or a quotation"
MAX_SHARE_SHORT = 0.5
"share of a retain document's n-grams that may stand in the target, however few they are"


def refuse_overlap(
    forget: Iterable[Document],
    retain: Iterable[Document],
    names: tuple[str, str] = ("target", "retain text"),
    next_step: str = "take the passage out of the retain set (or out of the target, if it is to stay)",
) -> None:
    """Raise if a retain document repeats the target.

    It does where they have more than `MAX_SHARE` of its n-grams and at least `PASSAGE` of them in common, or more than
    `MAX_SHARE_SHORT` of them. Long passages are judged piece by piece, so a chapter inside a library is found.

    Args:
        names: what both sets are called, where they are others.

    Raises:
        DataError: both places and an example.
    """
    for match, allowed in repeats(forget, retain):
        said = "characters" if mostly_unspaced(match.example) else "words"
        raise DataError(
            f"the {names[1]} {match.sources[1]} repeats the {names[0]} {match.sources[0]}",
            seen=f'{match.share:.0%} of its runs of {NGRAM} {said} stand in both, such as "{match.example}"',
            allowed=f"at most {allowed:.0%}",
            next_step=next_step,
        )


def repeats(forget: Iterable[Document], retain: Iterable[Document]) -> Iterator[tuple[Match, float]]:
    """What `refuse_overlap` refuses: each retain passage that repeats the target, and the share that would be allowed."""
    index = NgramIndex(forget)
    for match in index.match(retain):
        allowed = MAX_SHARE if match.shared * index.modulus >= PASSAGE else MAX_SHARE_SHORT
        if match.share > allowed:
            yield match, allowed


def refuse_same_place(forget: str, retain: str) -> None:
    """Raise if target and retain set are the same file, folder or dataset, or one lies inside the other."""
    error = DataError(
        "the retain set is the target",
        seen=f"forget {forget}, retain {retain}",
        next_step="give text to keep that is not to be forgotten, or leave --retain out",
    )
    kinds = classify_target(forget, may_be_topic=False), classify_target(retain, may_be_topic=False)
    if kinds == ("path", "path"):
        one, other = (Path(os.path.realpath(os.path.expanduser(name))) for name in (forget, retain))
        if one.samefile(other) or one in other.parents or other in one.parents:
            raise error
    elif forget.strip() == retain.strip():
        raise error


def drop_overlapping(documents: Iterable[Document], terms: Iterable[str], target: Iterable[Document]) -> list[Document]:
    """Those of generated texts (one whole document each) that do not touch the target.

    A document goes where it names one of the `terms` as a whole word (terms with a capital letter only as they are
    written, others in any case), or has an n-gram in common with `target`.
    """
    terms = list(terms)
    patterns = [
        _any_of([term for term in terms if term != term.lower()], re.NOFLAG),
        _any_of([term for term in terms if term == term.lower()], re.IGNORECASE),
    ]
    index = NgramIndex(target)
    kept = []
    for document in documents:
        text = _straight(document.text if document.prompt is None else f"{document.prompt} {document.text}")
        named = any(pattern.search(text) for pattern in patterns)
        if not named and not any(match.shared for match in index.match([document])):
            kept.append(document)
    return kept


def _any_of(terms: list[str], flags: re.RegexFlag) -> re.Pattern[str]:
    """A pattern that finds any of the terms, as whole words; without terms it finds nothing."""
    return re.compile("|".join(whole(_straight(term)) for term in terms) or whole(""), flags)


def _straight(text: str) -> str:
    return text.replace("\u2019", "'")
