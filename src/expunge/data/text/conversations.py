"""Conversations: turns of a user, an assistant and others, as the usual kinds of data hold them.

Each turn of the assistant is one document, with all that was said before it. So a loss falls on the assistant's turns
alone, each turn counts once, and what stands before is what the model would have seen when it said that.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from expunge.data.text.document import Document, Turn
from expunge.data.text.notes import Notes
from expunge.data.text.text_files import normalise_newlines
from expunge.data.text.thinking import without_thinking
from expunge.errors import DataError

LISTS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
"fields that hold a conversation"
ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "customer"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "ai", "bing", "bard", "agent"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "function_response", "tool_response"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
}
"role names of datasets -> those of chat templates"
_ROLE = ("role", "from", "speaker")
_CONTENT = ("content", "value", "text")
_CALLS = ("tool_calls", "function_call")
_KEPT = ("name", "tool_call_id")


def as_turns(value: Any) -> list[Mapping[str, Any]] | None:
    """A value as a list of turns, each a mapping with a role and what was said; None for anything else."""
    if isinstance(value, Mapping):  # a column of lists, as `datasets` makes of a sequence of structures
        columns = {key: list(each) for key, each in value.items() if isinstance(each, list | tuple)}
        if len(columns) < 2 or len({len(each) for each in columns.values()}) != 1:
            return None
        value = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if not isinstance(value, list | tuple) or not value or not all(isinstance(each, Mapping) for each in value):
        return None
    known = all(first_of(_ROLE, each) and first_of((*_CONTENT, *_CALLS), each) for each in value)
    return list(value) if known else None


def first_of(names: Iterable[str], row: Container[str]) -> str | None:
    """The first of these names that a row has; None if it has none."""
    return next((name for name in names if name in row), None)


def conversation_documents(value: Any, where: str, notes: Notes, last: bool = False) -> Iterator[Document]:
    """A document for each of the assistant's turns that answers something.

    Left out, and counted in the notes: turns with nothing but calls of tools or thinking, turns marked as not to be learnt
    (`weight` 0, `train` false), and what a user says after the assistant's last turn.

    Args:
        value: as `as_turns` takes it.
        last: whether only the last turn of the assistant counts.

    Raises:
        DataError: `where` and the turn: an unknown role, content that is neither text nor parts with text.
    """
    raw = as_turns(value) or []
    turns = [_turn(each, f"{where}, turn {number}", notes) for number, each in enumerate(raw, 1)]
    answers = [
        number
        for number, (turn, each) in enumerate(zip(turns, raw, strict=True))
        if turn.role == "assistant" and _learnt(turn, each, turns[:number], notes)
    ]
    notes.count("conversations; the loss is on the assistant's turns, with what was said before as context")
    if not answers:
        notes.count("conversations left out, since no turn of the assistant answers anything")
        return
    if turns[-1].role != "assistant":
        notes.count("conversations whose end is left out: nobody answers it")
    for number in answers[-1:] if last else answers:
        before = tuple(turns[:number])
        asked = next((turn.text for turn in reversed(before) if turn.role == "user"), before[-1].text)
        alone = len(before) == 1 and before[0] == Turn("user", asked)
        place = where if len(answers) == 1 else f"{where}, turn {number + 1}"
        yield Document(turns[number].text, asked, place, turns=() if alone else before)


def _turn(raw: Mapping[str, Any], where: str, notes: Notes) -> Turn:
    name = first_of(_ROLE, raw)
    said = str(raw[name]).strip().lower() if name else ""
    role = ROLES.get(said)
    if role is None:
        raise DataError(
            f"{where}: nobody is known by the role {said!r}",
            allowed=", ".join(ROLES),
            next_step="rename the role, or remove the row",
        )
    content = first_of(_CONTENT, raw)
    text = _content(raw[content] if content else None, where, notes)
    if role == "assistant":
        without = without_thinking(text)
        if without != text:
            notes.count("turns of the assistant whose thinking is left out (what stands in <think> ... </think>)")
            text = without
    more = {key: raw[key] for key in (*_CALLS, *_KEPT) if raw.get(key) is not None and (raw[key] or key in _KEPT)}
    if said in ("function_call", "tool_call"):
        more, text = {"tool_calls": [_call(text)]}, ""
    return Turn(role, text, json.dumps(more, ensure_ascii=False, sort_keys=True) if more else "")


def _call(text: str) -> dict[str, Any]:
    """A call of a tool that is written as JSON instead of what is said."""
    try:
        call = json.loads(text)
    except ValueError:
        call = None
    if not isinstance(call, dict):
        call = {"name": "tool", "arguments": {"text": text}}
    return {"type": "function", "function": {"name": str(call.get("name")), "arguments": call.get("arguments") or {}}}


def _content(value: Any, where: str, notes: Notes) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, list | tuple):
        texts = []
        for part in value:
            text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
            if isinstance(text, str):
                texts.append(text)
            else:
                notes.count("parts of turns that are not text (pictures, sound), left out")
        value = "".join(texts)
    if not isinstance(value, str):
        raise DataError(
            f"{where}: what is said is not text",
            seen=type(value).__name__,
            allowed='a string, or a list of parts such as {"type": "text", "text": "..."}',
            next_step="repair or remove the row",
        )
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise DataError(f"{where} holds half a character", next_step="repair or remove the row")
    return normalise_newlines(value)


def _learnt(turn: Turn, raw: Mapping[str, Any], before: list[Turn], notes: Notes) -> bool:
    if any(raw.get(key) for key in _CALLS) or "tool_calls" in turn.more:
        notes.count("turns of the assistant that call tools: context only, no loss on them")
    elif raw.get("weight") == 0 or raw.get("train") is False:
        notes.count("turns of the assistant marked as not to be learnt (weight 0): context only")
    elif not turn.text.strip():
        notes.count("turns of the assistant that say nothing: context only")
    elif not any(each.role in ("user", "tool") for each in before):
        notes.count("turns of the assistant before anybody asked: context only")
    else:
        return True
    return False
