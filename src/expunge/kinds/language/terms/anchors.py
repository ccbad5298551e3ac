"""Anchored terms: expressions that belong only to the target, each with a generic translation.

Source: step 2 of "Who's Harry Potter?" (Eldan, Russinovich 2023, arXiv:2310.02238).
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from expunge.core import storage
from expunge.data.text.words import WORD, bare, unspaced
from expunge.errors import DataError, did_you_mean
from expunge.kinds.language.terms import grammar

_HEADER = """\
# Anchored terms and their generic translations. Edit freely and give the file back with --anchors.
# A term written in lower case is matched in any case, others as written or in capitals; plurals and possessives follow.
"""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A term and what it is translated to.

    `kind` is what both are (surname, place, ...); `count` the occurrences met when it was found; `score` how far its
    frequency and its gain in log-probability are above the ordinary, in nats an occurrence.
    """

    term: str
    translation: str
    kind: str = "term"
    count: int = 0
    score: float = 0.0

    def row(self) -> dict[str, Any]:
        return asdict(self)


_FIELDS = tuple(field.name for field in fields(Anchor))


@dataclass(frozen=True, slots=True)
class Match:
    """An anchor met in a text: characters `start` to `end` become `translation_text`.

    The span leaves out the space before it and a following 's. It takes in the apostrophe of a bare possessive, and an
    a or an that has to change.
    """

    start: int
    end: int
    anchor: Anchor
    translation_text: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text and of its translation: copied where `anchor` is None, replaced otherwise."""

    source_start: int
    source_end: int
    target_start: int
    target_end: int
    anchor: Anchor | None


@dataclass(frozen=True, slots=True)
class Translation:
    """A translated text and the pieces that cover it and its source without gap or overlap."""

    text: str
    pieces: tuple[Piece, ...]

    def to_translated(self, offset: int) -> int | None:
        """Position in the translation of a boundary between characters of the source.

        Exact in copied text and at both edges of an anchor; None strictly inside an anchor.
        """
        if not self.pieces:
            return 0 if offset == 0 else None
        piece = self.pieces[bisect.bisect_right(self.pieces, offset, key=lambda p: p.source_start) - 1]
        if offset == piece.source_end:
            return piece.target_end
        if piece.anchor is None or offset == piece.source_start:
            return piece.target_start + offset - piece.source_start if offset < piece.source_end else None
        return None


@dataclass(frozen=True, slots=True)
class _Form:
    """One way a term is written: its words, the marks between them, and whether it is the plural."""

    anchor: Anchor
    words: tuple[str, ...]
    marks: tuple[str, ...]
    is_plural: bool


class AnchorDictionary:
    """Anchors, looked up in text.

    `notes` list what was left out when the dictionary was read or proposed, one sentence each; `shared` are terms that
    were left out because the retain set has them about as often.
    """

    def __init__(self, anchors: Iterable[Anchor], notes: Iterable[str] = (), shared: Iterable[str] = ()) -> None:
        self.anchors = tuple(anchors)
        self.notes = tuple(notes)
        self.shared = tuple(shared)
        self._forms: dict[str, list[_Form]] = {}
        self._words = {word for anchor in self.anchors for word in WORD.findall(anchor.term)}
        for anchor in self.anchors:
            for form in _forms(anchor):
                self._forms.setdefault(form.words[0].casefold(), []).append(form)
        for forms in self._forms.values():
            # the longest term wins; then a form in its own spelling, before a plural and before one matched in any case
            forms.sort(key=lambda f: (-len(f.words), f.is_plural, f.anchor.term.islower()))

    def __len__(self) -> int:
        return len(self.anchors)

    def __iter__(self) -> Iterator[Anchor]:
        return iter(self.anchors)

    def find(self, text: str) -> list[Match]:
        """The anchors in `text` from left to right: whole words, the longest term first, no overlaps."""
        tokens = self._tokens(text)
        matches: list[Match] = []
        position = 0
        while position < len(tokens):
            form = next(self._fitting(text, tokens, position), None)
            if form is not None:
                matches.append(_match(form, text, tokens, position, matches[-1].end if matches else 0))
            position += 1 if form is None else len(form.words)
        return matches

    def _tokens(self, text: str) -> list[tuple[int, int]]:
        """Spans of the words; for a word with an attached ending or particle, the span of the term's word."""
        words = ((found.start(), bare(found.group(), self._words)) for found in WORD.finditer(text))
        return [(at + start, at + end) for at, (start, end) in words]

    def every(self, text: str) -> Iterator[str]:
        """The term of every occurrence of an anchor in `text`, also of one inside a longer one."""
        tokens = self._tokens(text)
        for position in range(len(tokens)):
            yield from (form.anchor.term for form in self._fitting(text, tokens, position))

    def _fitting(self, text: str, tokens: list[tuple[int, int]], position: int) -> Iterator[_Form]:
        """Forms of terms that begin with the word at this position."""
        forms = self._forms.get(text[slice(*tokens[position])].casefold(), ())
        return (form for form in forms if _fits(form, text, tokens[position : position + len(form.words)]))

    def translate(self, text: str) -> Translation:
        """`text` with every anchor replaced, and the map between the two."""
        parts: list[str] = []
        pieces: list[Piece] = []
        source = target = 0

        def add(source_end: int, content: str, anchor: Anchor | None) -> None:
            nonlocal source, target
            if source_end > source:
                pieces.append(Piece(source, source_end, target, target + len(content), anchor))
                parts.append(content)
                source, target = source_end, target + len(content)

        for match in self.find(text):
            add(match.start, text[source : match.start], None)
            add(match.end, match.translation_text, match.anchor)
        add(len(text), text[source:], None)
        return Translation("".join(parts), tuple(pieces))


def _forms(anchor: Anchor) -> list[_Form]:
    spans = [found.span() for found in WORD.finditer(anchor.term)]
    words = tuple(anchor.term[start:end] for start, end in spans)
    marks = tuple(_mark(anchor.term[a[1] : b[0]]) for a, b in itertools.pairwise(spans))
    if not words:
        return []
    forms = [_Form(anchor, words, marks, False)]
    if anchor.kind not in ("work", "verb") and len(words[-1]) > 1:
        forms.append(_Form(anchor, (*words[:-1], grammar.plural(words[-1])), marks, True))
    return forms


def _mark(between: str) -> str:
    """The text between two words, without white space and with hyphens and apostrophes normalised."""
    return re.sub(r"[‐‑]", "-", re.sub(r"\s+", "", between)).replace("’", "'")


def _fits(form: _Form, text: str, spans: list[tuple[int, int]]) -> bool:
    if len(spans) < len(form.words):
        return False
    any_case = form.anchor.term == form.anchor.term.lower()
    for word, (start, end) in zip(form.words, spans, strict=True):
        seen = text[start:end]
        if seen != word and seen != word.upper() and not (any_case and seen.casefold() == word.casefold()):
            return False
    for mark, (_, end), (start, _) in zip(form.marks, spans, spans[1:], strict=False):
        between = text[end:start]
        # a line may break inside a term, a paragraph may not
        if _mark(between) != mark or between.count("\n") > 1:
            return False
        if not mark and not between and not (unspaced(text[end - 1]) or unspaced(text[start])):
            return False
    return True


def _match(form: _Form, text: str, tokens: list[tuple[int, int]], position: int, free_from: int) -> Match:
    last = position + len(form.words) - 1
    start, end = tokens[position][0], tokens[last][1]
    content = _in_shape_of(form, text[start:end])
    if (
        text[end : end + 1] in ("'", "’")
        and text[end - 1] in "sS"
        and not form.is_plural
        and content[-1] not in "sS"
        and grammar.is_bare_possessive(text, end)
    ):
        content += text[end] + ("S" if content.isupper() else "s")
        end += 1
    if position and tokens[position - 1][0] >= free_from:
        before, gap_start = tokens[position - 1]
        written, gap = text[before:gap_start], text[gap_start:start]
        needed = grammar.article(content)
        if written.lower() in ("a", "an") and written.lower() != needed and gap.isspace() and gap.count("\n") < 2:
            content = (needed.capitalize() if written[0].isupper() else needed) + gap + content
            start = before
    return Match(start, end, form.anchor, content)


def _in_shape_of(form: _Form, seen: str) -> str:
    """The translation in the number, the case and, if it has as many words, the line breaks of the source."""
    content = form.anchor.translation
    if form.is_plural:
        content = grammar.plural_phrase(content)
    if seen.isupper() and not form.anchor.term.isupper() and len(seen) > 1:
        content = content.upper()
    elif form.anchor.term == form.anchor.term.lower() and seen[0].isupper():
        content = content[0].upper() + content[1:]
    breaks = re.findall(r"\s+", seen)
    if len(breaks) == len(re.findall(r"\s+", content)):
        shapes = iter(breaks)
        content = re.sub(r"\s+", lambda _: next(shapes), content)
    return content


def write_anchors(dictionary: AnchorDictionary, path: Path) -> None:
    """Write a dictionary as YAML, one line an entry."""
    lines = [
        "- " + yaml.safe_dump(a.row(), default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
        for a in dictionary
    ]
    left_out = f"# Left out, since the retain set has them about as often: {', '.join(dictionary.shared)}\n"
    header = _HEADER + (left_out if dictionary.shared else "")
    storage.write_text(path, header + ("".join(lines) or "[]\n"))


def load_anchors(path: Path) -> AnchorDictionary:
    """Read a dictionary from YAML: a list of mappings with `term` and `translation`; kind, count, score are optional.

    An entry whose term is its own translation is dropped with a note.

    Raises:
        DataError: the file is missing or no YAML list, or an entry is not usable; the entry and its line are named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as error:
        raise DataError(f"cannot read the anchors {path}", seen=error.strerror, next_step="check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid YAML in UTF-8", seen=" ".join(str(error).split())) from error
    if not isinstance(content, list) or node is None:
        raise DataError(
            f"{path} must hold a list of anchors",
            seen="nothing" if content is None else type(content).__name__,
            allowed="- {term: Baker Street, translation: Maple Street}",
            next_step="write a list, or [] for no anchors",
        )
    anchors: dict[str, Anchor] = {}
    places: dict[str, str] = {}
    notes: list[str] = []
    for child, entry in zip(node.value, content, strict=True):
        place = f"{path}, line {child.start_mark.line + 1}"
        anchor = _read_entry(place, entry)
        if anchor.term in anchors:
            raise DataError(
                f"{place}: the term {anchor.term!r} occurs twice (first: {places[anchor.term]})",
                next_step="keep one of the two entries",
            )
        if anchor.term == anchor.translation:
            notes.append(f"{place}: {anchor.term!r} is its own translation and was left out")
            continue
        anchors[anchor.term], places[anchor.term] = anchor, place
    return AnchorDictionary(anchors.values(), notes)


def _read_entry(place: str, entry: Any) -> Anchor:
    if not isinstance(entry, dict):
        raise DataError(
            f"{place}: an entry must be a mapping",
            seen=repr(entry)[:80],
            allowed="- {term: Baker Street, translation: Maple Street}",
        )
    for name in entry:
        if name not in _FIELDS:
            raise DataError(
                f"{place}: there is no field {name}",
                allowed=", ".join(_FIELDS),
                next_step=did_you_mean(str(name), _FIELDS),
            )
    values: dict[str, Any] = {}
    for name in ("term", "translation", "kind"):
        value = entry.get(name, "term" if name == "kind" else None)
        if value is None:
            raise DataError(f"{place}: the field {name} is missing or empty", seen=repr(entry)[:80])
        if not isinstance(value, str):
            raise DataError(
                f"{place}: {name} must be text", seen=repr(value), next_step=f'put it in quotes: {name}: "{value}"'
            )
        values[name] = " ".join(value.split())
        if not WORD.search(values[name]):
            raise DataError(f"{place}: {name} has no letter or digit", seen=repr(value))
    for name, types in (("count", int), ("score", (int, float))):
        value = entry.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, types):
            raise DataError(f"{place}: {name} must be a number", seen=repr(value))
        values[name] = value
    return Anchor(**values)
