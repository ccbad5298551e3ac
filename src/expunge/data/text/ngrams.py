"""Runs of words that two sets of documents have in common, found by hash in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

import numpy as np

from expunge.data.text.document import Document
from expunge.data.text.words import WORD, unspaced

NGRAM = 8
"words in a row that count as the same text; of scripts without spaces, characters"
MAX_HASHES = 1 << 20
"n-grams that an index holds (12 bytes each); of more text an even sample is held"
MIN_SAMPLED = 4
"n-grams of a document that must be in the sample before it is judged"

_BASE = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Match:
    """What one document shares with an index."""

    shared: int
    total: int
    example: str
    sources: tuple[str, str]

    @property
    def share(self) -> float:
        return self.shared / self.total


class NgramIndex:
    """Hashes of a set of documents' n-grams, with where each stands first; an even sample where there are too many."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.modulus = 1
        "one in this many n-grams is held"
        self._hashes = np.empty(0, np.uint64)
        self._places = np.empty(0, np.uint32)
        self._sources: list[str] = []
        pending: list[tuple[np.ndarray, np.ndarray]] = []
        waiting = 0
        for document, _, hashes in _hashed(documents):
            hashes = hashes[hashes % np.uint64(self.modulus) == 0]
            if not len(hashes):
                continue
            pending.append((hashes, np.full(len(hashes), len(self._sources), np.uint32)))
            self._sources.append(document.source)
            waiting += len(hashes)
            if waiting > MAX_HASHES // 4:
                self._merge(pending)
                pending, waiting = [], 0
        self._merge(pending)

    def _merge(self, pending: list[tuple[np.ndarray, np.ndarray]]) -> None:
        hashes = np.concatenate([self._hashes, *(hashes for hashes, _ in pending)])
        places = np.concatenate([self._places, *(places for _, places in pending)])
        self._hashes, first = np.unique(hashes, return_index=True)
        self._places = places[first]
        while len(self._hashes) > MAX_HASHES:
            self.modulus *= 2
            held = self._hashes % np.uint64(self.modulus) == 0
            self._hashes, self._places = self._hashes[held], self._places[held]
        used, renumbered = np.unique(self._places, return_inverse=True)
        self._sources = [self._sources[i] for i in used]
        self._places = renumbered.astype(np.uint32)

    def match(self, documents: Iterable[Document]) -> Iterator[Match]:
        """What each document (each piece of a long one) shares with the index."""
        if not len(self._hashes):
            return
        for document, words, hashes in _hashed(documents):
            sampled = np.flatnonzero(hashes % np.uint64(self.modulus) == 0)
            if len(sampled) < (1 if self.modulus == 1 else MIN_SAMPLED):
                continue
            at = np.searchsorted(self._hashes, hashes[sampled]).clip(max=len(self._hashes) - 1)
            found = self._hashes[at] == hashes[sampled]
            if not found.any():
                yield Match(0, len(sampled), "", ("", document.source))
                continue
            first = int(np.argmax(found))
            start = int(sampled[first])
            source = self._sources[self._places[at[first]]]
            example = _shown(words[start : start + NGRAM])
            yield Match(int(found.sum()), len(sampled), example, (source, document.source))


def _hashed(documents: Iterable[Document]) -> Iterator[tuple[Document, list[str], np.ndarray]]:
    """Each document with its words and the hashes (uint64) of its n-grams; those across two pieces go with the later.

    Fewer words than half an n-gram say nothing about where they come from, and are passed over.
    """
    carried: list[str] = []
    for document in documents:
        if document.prompt is not None:
            # Questions are often made from a pattern; only runs with a word of the answer say what the row teaches.
            carried = _words(document.prompt)[1 - NGRAM :]
        elif not document.continues:
            carried = []
        words = carried + _words(document.text)
        carried = words[1 - NGRAM :]
        if 2 * len(words) >= NGRAM:
            yield document, words, _ngram_hashes(words, NGRAM)


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _shown(words: list[str]) -> str:
    """Words as they are read: those of scripts without spaces stand next to each other."""
    shown = words[0]
    for before, word in pairwise(words):
        shown += word if unspaced(before) and unspaced(word) else f" {word}"
    return shown


def _ngram_hashes(words: list[str], n: int) -> np.ndarray:
    values = np.fromiter((_word_hash(word) for word in words), np.uint64, len(words))
    length = min(n, len(words))
    count = len(words) - length + 1
    hashes = np.zeros(count, np.uint64)
    for i in range(length):  # wraps around modulo 2^64, which is meant
        hashes = hashes * np.uint64(_BASE) + values[i : i + count]
    hashes ^= hashes >> np.uint64(33)
    hashes *= np.uint64(0xFF51AFD7ED558CCD)
    hashes ^= hashes >> np.uint64(33)
    return hashes


@lru_cache(maxsize=1 << 16)
def _word_hash(word: str) -> int:
    # Python's own hash differs from process to process, and with it the sample.
    return int.from_bytes(blake2b(word.encode("utf-8"), digest_size=8).digest(), "big")
