"""Tokens of a long passage that arrives in pieces: the same tokens as if it had been tokenized whole.

A tokenizer looks a little to the left and to the right (byte-level BPE glues a space or newline to what follows, others
put a mark before the first word), so a piece on its own gives other tokens at its ends. Each piece is therefore
tokenized together with the end of what came before, and the two overlapping sequences are joined where they agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Encoding

OVERLAP = 1024
"characters of earlier text tokenized again with each piece (a longer run without a word break may be cut otherwise)"
AGREE = 4
"tokens that must be equal on either side of a joint"


class Encoder:
    """A fast tokenizer as this project uses it: no padding, no truncation, text in the data is only text."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        plain = tokenizer("a", add_special_tokens=False)["input_ids"]
        usual = tokenizer("a")["input_ids"]
        at = next((i for i in range(len(usual)) if usual[i : i + len(plain)] == plain), 0)
        self.prefix: list[int] = list(usual[:at])
        "what the tokenizer puts before a text by itself (a token for the beginning, or nothing)"

    def encode(self, texts: Sequence[str], *, control_tokens: bool = False) -> list[Encoding]:
        """Tokenize texts at once, in parallel, adding nothing.

        With `control_tokens` (for rendered chat templates) the text `<|im_end|>` is that control token; without, it is
        tokenized like any other characters. Tokens that a tokenizer adds without calling them special stay whole.
        """
        # The backend is spoken to directly, since the layer above spends a third of the time; that layer resets all three
        # of these at each call of its own.
        backend = self.tokenizer.backend_tokenizer
        backend.no_padding()
        backend.no_truncation()
        backend.encode_special_tokens = not control_tokens
        try:
            return backend.encode_batch(list(texts), add_special_tokens=False)
        finally:
            backend.encode_special_tokens = False


def token_ends(encoding: Encoding, length: int) -> list[int]:
    """Where each token ends in a text of `length` characters; it begins where the one before it ended.

    So spans cover the text without a gap: a space that the tokenizer left out of a span (`trim_offsets`) belongs to the
    token that holds it, which is the one after it. Of the tokens that share one character's bytes the first has the
    character and the others are empty.
    """
    ends = list(accumulate((end for _, end in encoding.offsets), max))
    if ends:
        ends[-1] = length
    return ends


class TokenStream:
    """The tokens of one passage that are not used up yet. Positions are characters from the passage's beginning."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.ends: list[int] = []
        self.start = 0
        "where the first token here begins"
        self.text = ""
        "the passage from `start` on"
        self.tail = ""
        "the last `OVERLAP` characters of the passage so far, to be tokenized again before the next piece"
        self._sources: list[tuple[int, str]] = []

    @property
    def length(self) -> int:
        return self.start + len(self.text)

    @property
    def source(self) -> str:
        """Of the piece in which the first token here begins."""
        return [source for at, source in self._sources if at <= self.start][-1]

    def append(self, piece: str, window: Encoding, source: str, encoder: Encoder) -> None:
        """Add a piece, given the encoding of `tail + piece`."""
        begin = self.length - len(self.tail)
        ids = window.ids
        ends = [begin + end for end in token_ends(window, len(self.tail) + len(piece))]
        # Where the window holds the whole passage so far, all of it is replaced.
        joint = _joint(self.ids, self.ends, ids, ends, begin + len(self.tail) // 2) if begin else (0, 0)
        if joint is None:
            (alone,) = encoder.encode([piece])
            ids, ends = alone.ids, [self.length + end for end in token_ends(alone, len(piece))]
            joint = len(self.ids), 0
        old, new = joint
        self.ids[old:] = ids[new:]
        self.ends[old:] = ends[new:]
        self._sources.append((self.length, source))
        self.text += piece
        self.tail = (self.tail + piece)[-OVERLAP:]

    def settled(self) -> int:
        """How many tokens no later piece can change."""
        limit = self.length - len(self.tail)
        count = len(self.ends)
        while count and self.ends[count - 1] > limit:
            count -= 1
        return count

    def drop(self, count: int) -> None:
        """Forget the first `count` tokens and their text."""
        if not count:
            return
        start = self.ends[count - 1]
        self.text = self.text[start - self.start :]
        self.start = start
        del self.ids[:count], self.ends[:count]
        here = max(i for i, (at, _) in enumerate(self._sources) if at <= start)
        del self._sources[:here]


def _joint(
    old_ids: list[int], old_ends: list[int], new_ids: list[int], new_ends: list[int], middle: int
) -> tuple[int, int] | None:
    """Counts of old tokens to keep and new tokens to leave out, so that both stop at the same character.

    Best is a place near the middle of the overlap where `AGREE` tokens on either side are equal; failing that, any
    place where a token ends in both.
    """
    after_old = {end: i for i, end in enumerate(old_ends, 1)}
    shared = [(abs(end - middle), after_old[end], j) for j, end in enumerate(new_ends, 1) if end in after_old]
    shared.sort()
    for _, i, j in shared:
        left = old_ids[max(i - AGREE, 0) : i] == new_ids[max(j - AGREE, 0) : j]
        if left and len(old_ids[i : i + AGREE]) == AGREE and old_ids[i : i + AGREE] == new_ids[j : j + AGREE]:
            return i, j
    return shared[0][1:] if shared else None
