"""Anchored terms proposed by a language model behind an OpenAI-compatible endpoint, as the paper had GPT-4 do it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from expunge.data.text.words import words
from expunge.kinds.language.terms.anchors import Anchor, AnchorDictionary
from expunge.models.endpoint import TIMEOUT, EndpointError, complete, content_of

MAX_WORDS = 8
"words of a term or translation; longer ones are sentences, not terms"

_INSTRUCTION = """\
You will be given a passage. List the expressions in it that belong to the world or subject it is taken from and hardly
appear elsewhere: names of people, places, groups and works, invented words, idiosyncratic phrases. For each give a
generic replacement that could stand in an unrelated text: a name for a name of the same sort and gender, a place for a
place, a plain noun for an invented one, in the same number and with the same part of speech, beginning with a vowel
sound if and only if the expression does. List names of several words whole and their parts too, consistently. Leave out
ordinary words and anything well known outside that world. Write terms in the singular, as they are capitalised in the
passage. Answer with JSON only: [{"term": "...", "translation": "...", "kind": "..."}]; [] if there is nothing."""


def anchors_from_endpoint(
    url: str, model: str, passages: Sequence[str], api_key: str | None, timeout: float = TIMEOUT
) -> AnchorDictionary:
    """Ask the endpoint for the terms of each passage and merge the answers: a term's first translation counts.

    Args:
        url: base of an OpenAI-compatible interface, the part before `/chat/completions`.
        passages: excerpts of the target, one request each.
        timeout: seconds an answer may take.

    Raises:
        RecipeError: the URL is not http or https.
        EndpointError: no connection, a refusal, or no usable answer to any passage.
    """
    found: dict[str, Anchor] = {}
    notes: list[str] = []
    for number, passage in enumerate(passages, 1):
        known = {anchor.term: anchor.translation for anchor in found.values() if anchor.term in passage}
        kept = f"Keep these replacements: {json.dumps(known, ensure_ascii=False)}\n\n" if known else ""
        messages = [{"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": kept + passage}]
        reply = complete(url, model, messages, api_key, timeout)
        try:
            entries = _entries(reply)
        except ValueError as error:
            notes.append(f"the answer to passage {number} was left out: {error}")
            continue
        for anchor in _usable(entries, passage):
            found.setdefault(anchor.term, anchor)
    if passages and len(notes) == len(passages):
        raise EndpointError(
            f"the model {model} at {url} gave no usable list of anchors to any of {len(passages)} passages",
            seen=notes[0],
            allowed='[{"term": "...", "translation": "...", "kind": "..."}]',
            next_step="try a stronger model, or leave out --anchors-from to have the terms found from the target",
        )
    counts = Counter(m.anchor.term for passage in passages for m in AnchorDictionary(found.values()).find(passage))
    anchors = [replace(anchor, count=counts[term]) for term, anchor in found.items()]
    return AnchorDictionary(sorted(anchors, key=lambda a: (-a.count, a.term)), notes)


def _entries(reply: Any) -> list[Any]:
    """The list inside a chat completion; models like to wrap it in prose, a code fence or an object."""
    content = content_of(reply)
    found = re.search(r"\[.*\]", content, re.DOTALL)
    if not found:
        raise ValueError(f"no JSON list in {content[:80]!r}")
    try:
        entries = json.loads(found.group())
    except ValueError as error:
        raise ValueError(f"no valid JSON ({error}) in {content[:80]!r}") from None
    return list(entries)


def _usable(entries: list[Any], passage: str) -> Iterator[Anchor]:
    """Usable entries: text, short, not translated to themselves, and a term that is in the passage."""
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        fields = [entry.get(name) for name in ("term", "translation", "kind")]
        term, translation, kind = (" ".join(field.split()) if isinstance(field, str) else "" for field in fields)
        lengths = [len(words(term)), len(words(translation))]
        if min(lengths) < 1 or max(lengths) > MAX_WORDS or term.casefold() == translation.casefold():
            continue
        anchor = Anchor(term, translation, kind[:40] or "term")
        if AnchorDictionary([anchor]).find(passage):
            yield anchor
