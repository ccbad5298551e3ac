"""Answers side by side: which ones are shown, and where the terms that reveal the target are in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.data.text.words import whole

SHOWN = 10
"answers of a group that are always shown and printed; the others fold away"
LONGEST = 1500
"characters of a text to show"


@dataclass(frozen=True)
class Text:
    """A text in pieces, each with whether it is a revealing term; `elsewhere`: terms counted but not found in it."""

    pieces: tuple[tuple[str, bool], ...]
    elsewhere: tuple[str, ...]
    cut: int
    "characters left out at the end"


@dataclass(frozen=True)
class Answer:
    prompt: Text
    before: Text
    after: Text | None
    retrained: Text | None
    true: Text | None
    "how the target continues, if the prompt is a passage of it"
    revealing_before: int
    revealing_after: int


@dataclass(frozen=True)
class Group:
    """Answers to prompts of one kind, those that still reveal the target first."""

    name: str
    shown: tuple[Answer, ...]
    folded: tuple[Answer, ...]
    revealing_before: int
    "answers with at least one revealing term"
    revealing_after: int
    has_retrained: bool

    @property
    def size(self) -> int:
        return len(self.shown) + len(self.folded)


def groups(rows: Sequence[Mapping[str, Any]]) -> list[Group]:
    """The rows of `answers.json` by group. Within one, answers that still reveal the target come first, then those
    that did before, then the others, each in the order of the file: the worst is never folded away."""
    names = list(dict.fromkeys(str(row.get("group") or "answers") for row in rows))
    return [_group(name, [row for row in rows if str(row.get("group") or "answers") == name]) for name in names]


def _group(name: str, rows: Sequence[Mapping[str, Any]]) -> Group:
    answers = sorted(
        (_answer(row) for row in rows),
        key=lambda answer: (-(answer.revealing_after > 0), -(answer.revealing_before > 0)),
    )
    return Group(
        name=name,
        shown=tuple(answers[:SHOWN]),
        folded=tuple(answers[SHOWN:]),
        revealing_before=sum(answer.revealing_before > 0 for answer in answers),
        revealing_after=sum(answer.revealing_after > 0 for answer in answers),
        has_retrained=any(answer.retrained is not None for answer in answers),
    )


def _answer(row: Mapping[str, Any]) -> Answer:
    before, after = list(row.get("terms_before") or ()), list(row.get("terms_after") or ())
    return Answer(
        prompt=mark(str(row.get("prompt") or ""), ()),
        before=mark(str(row.get("before") or ""), before),
        after=None if row.get("after") is None else mark(str(row["after"]), after),
        retrained=None if row.get("retrained") is None else mark(str(row["retrained"]), ()),
        true=None if row.get("true") is None else mark(str(row["true"]), ()),
        revealing_before=len(before),
        revealing_after=len(after),
    )


def mark(text: str, terms: Sequence[str]) -> Text:
    """Split `text` at whole-word occurrences of `terms`, longer ones first; capitalised terms only in that spelling."""
    text, cut = text[:LONGEST], max(0, len(text) - LONGEST)
    wanted = sorted({term.strip() for term in terms if term.strip()}, key=lambda term: (-len(term), term))
    if not wanted:
        return Text(((text, False),), (), cut)
    pattern = re.compile(f"({'|'.join(map(_pattern, wanted))})")
    pieces = tuple((piece, place % 2 == 1) for place, piece in enumerate(pattern.split(text)) if piece)
    seen = [piece for piece, is_term in pieces if is_term]
    elsewhere = (term for term in wanted if not any(re.search(_pattern(term), piece) for piece in seen))
    return Text(pieces, tuple(elsewhere), cut)


def _pattern(term: str) -> str:
    return whole(term) if term[0].isupper() else f"(?i:{whole(term)})"
