"""The paragraphs of a document in XML, taken while it is parsed: no tree of it is built."""

from __future__ import annotations

import re

DEEPEST = 10_000
"elements within elements, above which it is not a document of an office program"
MOST_SPACES = 1 << 20
"spaces that a document may have by their number alone"
_MARKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "line-break": "\n", "noBreakHyphen": "-"}
_SPACE = re.compile(r"[ \t\r\n]+")


def local_name(tag: str) -> str:
    """A name without its namespace, which stands before it in braces."""
    return tag.rpartition("}")[2]


class Paragraphs:
    """The target of an XML parser: the text of each paragraph, in order.

    A paragraph within another (a text box, a note) stands after the one that it is in.

    Raises (while it is fed):
        ValueError: elements nested more than `DEEPEST` deep, more than `MOST_SPACES` spaces by number.
    """

    def __init__(self, names: tuple[str, ...], unread: tuple[str, ...], only: str | None = None) -> None:
        """
        Args:
            names: elements that are paragraphs. unread: elements that are left out, with all that is in them.
            only: the element that text stands in, where it is not all of a paragraph.
        """
        self._names, self._unread, self._only = names, unread, only
        self._found: list[list[str]] = []
        self._open: list[tuple[list[str], bool]] = [([], False)]  # (where text goes, whether it is read), by element
        self._text: list[str] = []  # since the last tag
        self._skipped = self._spaces = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._flush()
        name = local_name(tag)
        if self._skipped or name in self._unread:
            self._skipped += 1
            return
        if len(self._open) > DEEPEST:
            raise ValueError(f"its elements are nested more than {DEEPEST:,} deep")
        into, inside = self._open[-1]
        if name in self._names:
            into, inside = [], self._only is None
            self._found.append(into)
        if name in _MARKS:
            into.append(_MARKS[name])
        elif name == "s":  # OpenDocument's spaces in a row
            into.append(" " * self._counted(attributes))
        self._open.append((into, inside if self._only is None else name == self._only))

    def end(self, tag: str) -> None:
        self._flush()
        if self._skipped:
            self._skipped -= 1
            return
        into, _ = self._open.pop()
        if local_name(tag) in self._names:
            if not into and self._found[-1] is into:
                self._found.pop()  # millions of empty ones cost nothing
            else:
                into[:] = ["".join(into)]

    def data(self, text: str) -> None:
        if not self._skipped and self._open[-1][1]:
            self._text.append(text)

    def close(self) -> list[str]:
        return ["".join(part) for part in self._found]

    def _flush(self) -> None:
        if self._text:
            text = "".join(self._text)
            self._open[-1][0].append(text if self._only else _SPACE.sub(" ", text))
            self._text.clear()

    def _counted(self, attributes: dict[str, str]) -> int:
        count = next((value for key, value in attributes.items() if key.endswith("}c")), "1")
        found = min(int(count), 1000) if count.isdecimal() and len(count) < 10 else 1
        self._spaces += found
        if self._spaces > MOST_SPACES:
            raise ValueError(f"more than {MOST_SPACES:,} spaces are given by their number")
        return found
