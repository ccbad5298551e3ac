"""Where two sets of text say the same: a retain set that holds the target would teach again what is to be forgotten."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from expunge.data.text.document import Document
from expunge.data.text.ngrams import NGRAM, NgramIndex
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
    forget: Iterable[Document], retain: Iterable[Document], max_share: float = MAX_SHARE, n: int = NGRAM
) -> None:
    """Raise where a retain document repeats the target.

    It does where they have more than `max_share` of its n-grams and at least `PASSAGE` of them in common, or more than
    `MAX_SHARE_SHORT` of them. Long passages are judged piece by piece, so a chapter inside a library is found.

    Raises:
        DataError: both places and an example.
    """
    index = NgramIndex(forget, n)
    for match in index.match(retain):
        allowed = max_share if match.shared * index.modulus >= PASSAGE else max(max_share, MAX_SHARE_SHORT)
        if match.share > allowed:
            said = "characters" if mostly_unspaced(match.example) else "words"
            raise DataError(
                f"the retain text {match.sources[1]} repeats the target {match.sources[0]}",
                seen=f'{match.share:.0%} of its runs of {n} {said} stand in both, such as "{match.example}"',
                allowed=f"at most {allowed:.0%}",
                next_step="take the passage out of the retain set (or out of the target, if it is to stay)",
            )


def refuse_same_place(forget: str, retain: str) -> None:
    """Raise where target and retain set are the same file, folder or dataset, or one lies inside the other.

    Raises:
        DataError: both names.
    """
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


def drop_overlapping(
    documents: Iterable[Document],
    terms: Iterable[str],
    target: Iterable[Document] = (),
    max_share: float = 0.0,
    n: int = NGRAM,
) -> tuple[list[Document], list[tuple[Document, str]]]:
    """Sort generated text (one whole document each) into what may be retained and what touches the target, with the reason.

    A document goes where it names one of the `terms` as a whole word (terms with a capital letter only as they are
    written, others in any case), or has more than `max_share` of its n-grams in common with `target`.
    """
    exact: list[str] = []
    any_case: list[str] = []
    for term in terms:
        if term.strip():
            (any_case if term == term.lower() else exact).append(term)
    patterns = [_term_pattern(exact, re.NOFLAG), _term_pattern(any_case, re.IGNORECASE)]
    index = NgramIndex(target, n)
    kept: list[Document] = []
    dropped: list[tuple[Document, str]] = []
    for document in documents:
        text = _straight(_whole_text(document))
        named = next((found.group() for pattern in patterns if pattern and (found := pattern.search(text))), None)
        if named is not None:
            dropped.append((document, f"names {named!r}"))
            continue
        match = next(index.match([document]), None)
        if match is not None and match.share > max_share:
            dropped.append((document, f"repeats the target: {match.example!r}"))
        else:
            kept.append(document)
    return kept, dropped


def _term_pattern(terms: list[str], flags: re.RegexFlag) -> re.Pattern[str] | None:
    if not terms:
        return None
    # Longest first, so that the reason names "Harry Potter" and not "Harry".
    spelled = (whole(_straight(term)) for term in sorted(terms, key=len, reverse=True))
    return re.compile("|".join(spelled), flags)


def _straight(text: str) -> str:
    return text.replace("\u2019", "'")


def _whole_text(document: Document) -> str:
    return document.text if document.prompt is None else f"{document.prompt} {document.text}"
