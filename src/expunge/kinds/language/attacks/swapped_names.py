"""Facts that no model saw, made from the forget set: its names replaced by invented ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from expunge.core.order import random_seed
from expunge.data.text.document import Document
from expunge.data.text.invented_names import invented_name

LETTERS = 3
"shorter words of a name are not replaced"


def invented(word: str, seed: int) -> str:
    """An invented word with the same length and case; the same for the same word and seed."""
    made = invented_name(np.random.default_rng(random_seed(seed, "name", word.lower())), len(word))
    if word.isupper():
        return made.upper()
    return made if word[:1].isupper() else made.lower()


def swapped(
    documents: Callable[[], Iterable[Document]], names: Sequence[str], seed: int
) -> Callable[[], Iterator[Document]]:
    """The documents with every word of these names that begins with a capital replaced, consistently."""
    words = {word for name in names for word in re.findall(r"[^\W\d_]+", name)}
    known = {word for word in words if len(word) >= LETTERS and word[:1].isupper()}
    lower = {word.lower() for word in words if len(word) >= LETTERS}

    def put(text: str) -> str:
        def one(found: re.Match[str]) -> str:
            word = found[0]
            swap = word in known or (word[:1].isupper() and word.lower() in lower)
            return invented(word, seed) if swap else word

        return re.sub(r"[^\W\d_]+", one, text)

    def made() -> Iterator[Document]:
        for document in documents():
            turns = tuple(replace(turn, text=put(turn.text)) for turn in document.turns)
            prompt = None if document.prompt is None else put(document.prompt)
            yield replace(document, text=put(document.text), prompt=prompt, turns=turns)

    return made
