"""What a row says: a passage, a question with its answer, or a conversation; recognised by the names of its fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from expunge.data.text.conversations import LISTS, as_turns, conversation_documents, first_of
from expunge.data.text.document import Document, Turn
from expunge.data.text.notes import Notes
from expunge.data.text.text_files import documents_of, normalise_newlines
from expunge.data.text.thinking import without_thinking
from expunge.errors import DataError

TEXTS = ("text", "content", "document", "passage", "article", "story")
"fields that hold a passage; the first one counts"
PAIRS = (
    ("question", "answer"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("prompt", "gt"),
    ("question", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("input", "output"),
)
"fields that hold a question and its answer"
INSTRUCTION, ANSWERS, CONTEXTS = "instruction", ("output", "response", "completion"), ("input", "context")
"Alpaca's fields, and Dolly's: what to do, the answer, and what it is about"
CHOSEN, REJECTED = "chosen", "rejected"
OPTIONAL = ("prompt", "system", "history", REJECTED, *CONTEXTS)
FIELDS = (
    "a string field `text`; two such as `question` and `answer`, `prompt` and `completion`, `instruction` and `output`; "
    "or a conversation: `messages` with roles, `conversations`"
)
_HUMAN = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")
THOUGHT = "answers whose thinking is left out (what stands in <think> ... </think>)"


def used_fields(names: Iterable[str]) -> list[str]:
    """The fields of a row that are read, given all of its names; none if it has no text that is known."""
    known = _by_name(names)
    if listed := first_of(LISTS, known):
        return [known[listed]]
    if INSTRUCTION in known and (answer := first_of(ANSWERS, known)):
        return [known[INSTRUCTION], known[answer], *(known[name] for name in OPTIONAL if name in known)]
    if "text" in known:
        return [known["text"]]
    for pair in PAIRS:
        if all(name in known for name in pair):
            return [known[name] for name in pair]
    if CHOSEN in known:
        return [known[CHOSEN], *(known[name] for name in ("prompt", REJECTED) if name in known)]
    text = first_of(TEXTS, known)
    return [known[text]] if text else []


def _by_name(names: Iterable[str]) -> dict[str, str]:
    """Names in lower case -> as they are spelled; an exact spelling counts before another one."""
    spelled: dict[str, str] = {}
    for name in names:
        plain = str(name).strip().lower()
        if plain not in spelled or str(name) == plain:
            spelled[plain] = str(name)
    return spelled


def row_documents(row: Mapping[str, Any], where: str, notes: Notes) -> Iterator[Document]:
    """The documents of one row; none if its text, or one half of its pair, is empty (WikiText has many such rows).

    A conversation counts before `text`, since `text` of the same row is mostly the same rendered for some model;
    `text` counts before a question and its answer.

    Raises:
        DataError: `where` and the fields seen, for a row without usable fields.
    """
    row = notes.columns.row(row, where)
    # A field of that name may hold something else, such as a number of turns.
    seen = {name: value for name, value in row.items() if name.strip().lower() not in LISTS or as_turns(value)}
    used = used_fields(seen)
    values = {name.strip().lower(): seen[name] for name in used}
    if not used:
        raise DataError(
            f"{where} has no text to read",
            seen=f"fields {', '.join(map(str, row)) or '(none)'}",
            allowed=FIELDS,
            next_step="name the field that holds the text (--columns text=NAME), or remove the row",
        )
    if empty := next((name for name in values if name not in OPTIONAL and _is_empty(values[name])), None):
        notes.count(f"rows left out, since their field {empty} is empty")
    elif listed := first_of(LISTS, values):
        yield from conversation_documents(values[listed], where, notes)
    elif INSTRUCTION in values:
        yield from _instruction(values, where, notes)
    elif len(used) == 1 and CHOSEN not in values:
        (name,) = values
        if name != "text":
            notes.count(f"rows whose text is read from the field {name}")
        yield from documents_of([field(values, name, where)], where, None)
    elif CHOSEN in values:
        yield from _chosen(values, where, notes)
    else:
        question, answer = values
        if not all(isinstance(values[name], str) for name in values) and any(map(as_turns, values.values())):
            yield from conversation_documents(_joined(values[question], values[answer]), where, notes, last=True)
            return
        if (question, answer) != PAIRS[0]:
            notes.count(f"questions and answers read from the fields {question} and {answer}")
        yield from _answer(field(values, answer, where), field(values, question, where), (), where, notes)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _answer(text: str, prompt: str, turns: tuple[Turn, ...], where: str, notes: Notes) -> Iterator[Document]:
    said = without_thinking(text)
    if said != text:
        notes.count(THOUGHT)
        if not said:
            return
    yield Document(said, prompt, where, turns=turns)


def _instruction(values: Mapping[str, Any], where: str, notes: Notes) -> Iterator[Document]:
    answer = next(name for name in ANSWERS if name in values)
    asked = field(values, INSTRUCTION, where)
    given = next((values[name] for name in CONTEXTS if values.get(name)), None)
    if isinstance(given, str) and given.strip():
        asked = f"{asked}\n\n{normalise_newlines(given)}"
    turns: list[Turn] = []
    if isinstance(values.get("system"), str) and values["system"].strip():
        turns.append(Turn("system", normalise_newlines(values["system"])))
    for pair in values.get("history") or ():
        if isinstance(pair, list | tuple) and len(pair) == 2:
            turns += [Turn("user", str(pair[0])), Turn("assistant", without_thinking(str(pair[1])))]
    if turns:
        turns.append(Turn("user", asked))
    notes.count(f"instructions read, with the answers in {answer}")
    yield from _answer(field(values, answer, where), asked, tuple(turns), where, notes)


def _chosen(values: Mapping[str, Any], where: str, notes: Notes) -> Iterator[Document]:
    """Of a pair of answers the one that is preferred."""
    chosen, prompt = values[CHOSEN], None if _is_empty(values.get("prompt")) else values["prompt"]
    if REJECTED in values:
        notes.count("pairs of answers of which the chosen one is read, and the rejected one is not")
    if isinstance(chosen, str) and prompt is None and len(parts := _HUMAN.split(chosen)) > 2:
        roles = {"Human": "user", "Assistant": "assistant"}
        chosen = [{"role": roles[a], "content": b.strip()} for a, b in zip(parts[1::2], parts[2::2], strict=True)]
    if as_turns(chosen) or as_turns(prompt):
        yield from conversation_documents(_joined(prompt, chosen), where, notes, last=True)
    elif prompt is not None:
        yield from _answer(field(values, CHOSEN, where), field(values, "prompt", where), (), where, notes)
    else:
        yield from documents_of([field(values, CHOSEN, where)], where, None)


def _joined(prompt: Any, answer: Any) -> list[Any]:
    """Prompt and answer, each a text or turns, as one conversation; the answer may hold the prompt already."""
    before = as_turns(prompt) or ([] if prompt is None else [{"role": "user", "content": prompt}])
    after = as_turns(answer) or [{"role": "assistant", "content": answer}]
    roles = [str(turn.get("role", turn.get("from"))).lower() for turn in after]
    return after if any(role in ("user", "human") for role in roles) else [*before, *after]


def field(row: Mapping[str, Any], name: str, where: str) -> str:
    """A field that holds text.

    Raises:
        DataError: no string, an empty one, or half a character.
    """
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"{where}: the field `{name}` is not a string", seen=f"{type(value).__name__}", allowed=FIELDS)
    if not value.strip():
        raise DataError(
            f"{where}: the field `{name}` is empty", seen=repr(value), next_step="fill it or remove the row"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # half of a surrogate pair, which no tokenizer takes
        raise DataError(
            f"{where}: the field `{name}` holds half a character",
            seen=f"\\u{ord(value[error.start]):04x} without its other half, at character {error.start}",
            next_step="repair or remove the row",
        ) from error
    return normalise_newlines(value)
