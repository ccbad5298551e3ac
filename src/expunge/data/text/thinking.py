"""What a reasoning model thinks aloud before it answers, and texts without it."""

from __future__ import annotations

import re

MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
"what stands around thinking"
CHANNEL = "<|channel|>"
FINAL = "final"
"the channel of an answer, where a model speaks in channels (gpt-oss: analysis, commentary, final)"

_CONTROL = re.compile(r"<\|[^|<>]{1,40}\|>")


def without_thinking(text: str) -> str:
    """A text without what stands in marks of thinking.

    Thinking whose end is missing (the model was stopped) goes up to the end of the text; thinking whose beginning is
    missing (it stood in the prompt) goes from the beginning of it.
    """
    found = text
    for begin, end in MARKS:
        if begin not in found and end not in found:
            continue
        found = re.sub(rf"{re.escape(begin)}.*?(?:{re.escape(end)}|\Z)\s*", "", found, flags=re.DOTALL)
        found = found.rpartition(end)[2].lstrip() if end in found else found
    if CHANNEL in found:
        found = _final(found)
    return found


def _final(text: str) -> str:
    """What is said in the last channel `final`; nothing if only others are there."""
    before, *channels = text.split(CHANNEL)
    said = [each.partition("<|message|>")[2] for each in channels if each.lstrip().startswith(FINAL)]
    kept = said[-1] if said else ("" if not _CONTROL.sub("", before).strip() else before)
    return _CONTROL.split(kept)[0]
