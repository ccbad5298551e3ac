"""Make unprintable characters harmless or visible."""

from __future__ import annotations

import re
from typing import TypeVar

from markupsafe import Markup

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"control characters, marks that reverse the order of letters, and halves of characters"

Value = TypeVar("Value")


def clean(value: Value) -> Value | str:
    """A text with � for what UNPRINTABLE matches; anything else, finished markup too, as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return UNPRINTABLE.sub("�", value.replace("\r\n", "\n"))
    return value


def visible(text: str) -> str:
    """A token with line ends as ⏎ and other characters that cannot be printed as their escapes."""
    text = text.replace("\r\n", "⏎").replace("\n", "⏎").replace("\r", "⏎").replace("\t", "⇥")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
