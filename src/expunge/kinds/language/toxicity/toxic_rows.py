"""Rows of toxic and clean text: the kinds of table, and how a row of each is read."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from expunge.errors import DataError

NO_GROUP = "none"
"group of a statement that is not about a group of people"
TOXIC_ABOVE = 3.0
"people's ratings of toxicity, from 1 to 5, above which a statement counts as toxic"

_TIDY = tuple(
    (re.compile(pattern), put)
    for pattern, put in (
        (r"https?://\S+|@\w+:?|(?<!\S)RT\b", " "),
        (r"\s+", " "),
        (r" (?=[.,!?;:%)\]]|(?:n't|'s|'m|'re|'ve|'ll|'d)\b)", ""),
        (r"(?<=[(\[]) ", ""),
        (r"\bi\b(?!\.)", "I"),
    )
)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """A text that somebody labelled."""

    text: str
    toxic: bool
    group: str
    "the group of people that it is about, the kind of toxicity if labelled, or `NO_GROUP`"
    where: str
    "`file:line`"
    rewrite: str | None = None
    "a rewrite without toxicity, if somebody wrote one"

    @property
    def table(self) -> str:
        """The file that it is in."""
        return self.where.rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of table, recognised by its columns."""

    name: str
    "its content, for messages"
    columns: tuple[str, ...]
    "columns that it needs; the first is specific: a table with it is of this kind, or damaged"
    read: Callable[[Row, str], Statement]
    "reads a row, given its place"


def _tweet(row: Row, where: str) -> Statement:
    label = _one_of(row, "class", where, {"0": "hate", "1": "offensive", "2": NO_GROUP})
    return Statement(_text(row, "tweet", where), label != NO_GROUP, label, where)


def _pair(toxic: str, neutral: str) -> Callable[[Row, str], Statement]:
    def read(row: Row, where: str) -> Statement:
        return Statement(_text(row, toxic, where), True, NO_GROUP, where, _text(row, neutral, where))

    return read


def _comment(row: Row, where: str) -> Statement:
    label = _one_of(row, "toxic", where, {"0": "clean", "1": "toxic"})
    return Statement(_text(row, "comment_text", where), label == "toxic", NO_GROUP, where)


def _about_a_group(row: Row, where: str) -> Statement:
    label = _one_of(row, "label", where, {"hate": "toxic", "neutral": "clean"})
    return Statement(_text(row, "text", where), label == "toxic", _cell(row, "group", where).strip(), where)


def _rated(row: Row, where: str) -> Statement:
    try:
        rating = float(row["toxicity_human"])
    except (TypeError, ValueError):
        rating = float("nan")
    if not 1 <= rating <= 5:
        raise DataError(
            f"{where}: toxicity_human is not a rating",
            seen=repr(row["toxicity_human"]),
            allowed="a number from 1 to 5",
            next_step="repair or remove the row",
        )
    return Statement(_text(row, "text", where), rating > TOXIC_ABOVE, _cell(row, "target_group", where).strip(), where)


KINDS = (
    Kind("tweets with a class (0 hate, 1 offensive, 2 neither)", ("tweet", "class"), _tweet),
    Kind("toxic sentences with a neutral rewrite", ("neutral1", "toxic"), _pair("toxic", "neutral1")),
    Kind(
        "toxic sentences with a neutral rewrite",
        ("en_neutral_comment", "en_toxic_comment"),
        _pair("en_toxic_comment", "en_neutral_comment"),
    ),
    Kind("comments with a label (1 toxic, 0 not)", ("comment_text", "toxic"), _comment),
    Kind("statements about groups of people, hate or neutral", ("group", "text", "label"), _about_a_group),
    Kind("statements about groups of people, rated by people", ("target_group", "text", "toxicity_human"), _rated),
)
"the kinds of table that are read, mostly as their authors published them"
PROMPT = "prompt"
"column that makes a table one of prompts: those are measured with, never trained on"


def kind_of(columns: list[str], source: str) -> Kind | None:
    """The kind of a table with these columns; None if there is none.

    Raises:
        DataError: the column specific to a kind is present, but another one that the kind needs is not.
    """
    if PROMPT in columns:
        return None
    for kind in KINDS:
        if set(kind.columns) <= set(columns):
            return kind
    for kind in KINDS:
        missing = [column for column in kind.columns if column not in columns]
        if kind.columns[0] in columns or (len(kind.columns) == 2 and len(missing) == 1):
            raise DataError(
                f"{source} has no column {missing[0]!r}",
                seen=f"the columns {', '.join(name for name in columns if name) or '(none)'}",
                allowed=f"{', '.join(kind.columns)}: {kind.name}",
                next_step="name the columns so in its first line, or remove the file from the folder",
            )
    return None


def statements(rows: Iterator[tuple[str, Row]], kind: Kind) -> Iterator[Statement]:
    """Read each row, leaving out rows without a word.

    Raises:
        DataError: with file and line, for a label that the kind does not have, or a cell without text.
    """
    for where, row in rows:
        statement = kind.read(row, where)
        if statement.text:
            yield statement


def _text(row: Row, column: str, where: str) -> str:
    return tidy(_cell(row, column, where))


def _cell(row: Row, column: str, where: str) -> str:
    value = row[column]
    if isinstance(value, bytes):  # some cells of ToxiGen's published table are bytes
        value = value.decode("utf-8", errors="replace")
    if not isinstance(value, str):
        raise DataError(
            f"{where}: the column {column!r} has no text",
            seen=repr(value),
            allowed="text",
            next_step="repair or remove the row",
        )
    return value


def tidy(text: str) -> str:
    """Turn a tokenised tweet or comment into running text: punctuation in its place, a capital at the beginning.

    Without web addresses, names of users and quotation marks, which are not about toxicity, but would
    distinguish the tables.
    """
    text = html.unescape(html.unescape(text))
    for pattern, put in _TIDY:
        text = pattern.sub(put, text)
    text = text.strip(' "!:&')
    return text[:1].upper() + text[1:]


def _one_of(row: Row, column: str, where: str, known: Mapping[str, str]) -> str:
    label = str(row[column]).strip()
    if label not in known:
        raise DataError(
            f"{where}: {label!r} is not a known {column}",
            seen=f"{column}: {row[column]!r}",
            allowed=", ".join(known),
            next_step="repair or remove the row",
        )
    return known[label]
