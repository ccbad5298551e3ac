"""The unit in which text travels: a passage, or a question with its answer, maybe within a conversation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody says in a conversation."""

    role: str
    "`user`, `assistant`, `system` or `tool`"
    text: str
    "what is said"
    more: str = ""
    "other fields that a chat template may ask for (`tool_calls`, `name`), as a JSON object; or nothing"


@dataclass(frozen=True, slots=True)
class Document:
    """A passage of plain text, one question and its answer, or one answer in a conversation.

    A long passage comes as several documents in a row; joined, the `text` of the pieces is the whole passage.
    """

    text: str
    "the passage, or the answer where there is a `prompt`"
    prompt: str | None
    "the question, in a conversation what the user said last; None for plain text"
    source: str
    "where it stands: `file:line` (first line is 1), for Parquet and datasets `name:row` (first row is 1)"
    continues: bool = False
    "whether this piece continues the document before it"
    turns: tuple[Turn, ...] = ()
    "all that was said before the answer, in a conversation; none if that is the question alone"


def digest_documents(documents: Iterable[Document]) -> str:
    """sha256 (hex) of what the documents say, in order.

    Neither a file's name nor where a passage was cut into pieces changes it, so text that was moved keeps its digest.
    """
    whole = hashlib.sha256()
    passage = None
    for document in documents:
        if not document.continues:
            if passage is not None:
                whole.update(passage.digest())
            passage = hashlib.sha256()
            # A digest is of fixed length, so no text can be mistaken for the border between question and answer.
            if document.turns:
                said = json.dumps([[turn.role, turn.text, turn.more] for turn in document.turns])
                whole.update(b"conversation" + hashlib.sha256(said.encode("utf-8")).digest())
            elif document.prompt is None:
                whole.update(b"text")
            else:
                whole.update(b"question" + hashlib.sha256(document.prompt.encode("utf-8")).digest())
        if passage is None:
            passage = hashlib.sha256()
        passage.update(document.text.encode("utf-8"))
    if passage is not None:
        whole.update(passage.digest())
    return whole.hexdigest()
