"""Words that indicate unwanted text: a logistic regression on the words of the forget and retain texts."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from expunge.data.text.words import MARK
from expunge.kinds.language.signals.signal import Signal, Source, lookup
from expunge.kinds.language.token_dataset import Lookup, TokenTable
from expunge.kinds.language.toxicity.identity_terms import TERMS
from expunge.kinds.language.toxicity.statements import sides_of
from expunge.train.step import IGNORED

_LETTERS = rf"[^\W\d_](?:[^\W\d_]|{MARK})*"
WORD = re.compile(rf"{_LETTERS}(?:['’]{_LETTERS})*")
"a run of letters and their marks; an apostrophe within belongs to it"
OCCURS = 5
"texts that a word must occur in; of a rarer one too little is known"
PENALTY = 1.0
"weight of half the squared weights: a normal prior of mean 0 and deviation 1 for each word"
SEEN = 3
"occurrences in unwanted words that a token of the unwanted vocabulary has at least"
OWN = 0.5
"share of a token's places that unwanted words must have for the token to be unwanted itself"

SPARED = frozenset(
    form
    for term in (*TERMS, "Jew", "Islam", "Latino", "trans", "homosexual", "woman", "man", "women", "men", "girl", "boy")
    for word in term.lower().split()
    for form in (word, word + "s")
)
"names of groups of people: never unwanted, however often they are insulted"

Sides = tuple[Sequence[str], Sequence[str]]
"texts to forget and texts to retain, of one kind"


class UnwantedWords(Signal):
    """(rows,) how much the word that each label is a part of speaks for a text to forget: its weight, or 0.

    Args:
        mark: weight from which a word is unwanted. Of a word's tokens those keep its weight that stand in unwanted
            words at least as often as in others. Of statements, more than training can draw, those are drawn that hold
            all unwanted words about equally often.
    """

    name = "unwanted_words"
    per = "row"

    def __init__(self, mark: float = 0.0) -> None:
        self.mark = mark
        self._weights: tuple[Path, np.ndarray] | None = None

    def made(self, source: Source) -> Lookup:
        return lookup(self.weights(source), self.per, source.table)

    def choose(self, source: Source, rows: list[int], limit: int | None) -> list[int]:
        weights = self.weights(source)  # of all blocks, whichever are taken
        if limit is None:
            return rows
        return [rows[place] for place in covering(source.table.take(rows), weights, self.mark, limit)]

    def weights(self, source: Source) -> np.ndarray:
        """(tokens,) float32, as long as the file of the forget set."""
        if self._weights is None or self._weights[0] != source.table.folder:
            tokenizer, words = source.base.tokenizer, unwanted_words(source)
            own = own_share(weighted_tables(source), self.mark)
            self._weights = source.table.folder, token_weights(source.table, words, tokenizer, own)
        return self._weights[1]


def weighted_tables(source: Source) -> list[tuple[TokenTable, np.ndarray]]:
    """The forget set and the retain set, each with the weights of its tokens."""
    words, tokenizer = unwanted_words(source), source.base.tokenizer
    return [(table, token_weights(table, words, tokenizer)) for table in (source.table, source.sets.kept_alone())]


def unwanted_words(source: Source) -> dict[str, float]:
    """What each word says for a text to forget, of all statements that were read or of the two sets' blocks; a
    stage."""
    forget, kept, read = source.table, source.sets.kept_alone(), source.sets.read
    tokenizer = source.base.tokenizer

    def make() -> dict[str, float]:
        tables = [(texts_of(forget, tokenizer), texts_of(kept, tokenizer))] if read is None else sides_of(read)
        return dict(sorted(word_weights(tables).items(), key=lambda item: -item[1]))

    key = {
        "text": [forget.folder.name, kept.folder.name, len(kept)] if read is None else read.digest(),
        "tokenizer": source.base.tokenizer_digest,
    }
    found: dict[str, float] = source.run.cached_json("unwanted-words", key, make, "words.json")
    return found


def word_weights(tables: Sequence[Sides]) -> dict[str, float]:
    r"""How much each word in a text indicates that it is one to forget.

    A logistic regression of the words of a text (each counted once, in lower case), with an intercept for each table,
    so that words which only distinguish one table from another have no weight:

    $$\min_{w, b} \; \sum_i c_i \log\left(1 + e^{-y_i (\sum_{v \in x_i} w_v + b_{t(i)})}\right)
      + \tfrac{1}{2} \lVert w \rVert^2$$

    y is 1 for a text to forget and -1 for one to retain. c weighs both sides of a table alike: each as many texts as
    the smaller side has. Unlike a word's odds, its weight is what it adds to the other words: those that merely occur
    next to insults get none. A table with one side says nothing, unless all are so: then they are taken together.

    Returns:
        word -> weight; names of groups of people and words of fewer than `OCCURS` texts are left out.
    """
    whole = [sides for sides in tables if sides[0] and sides[1]]
    if not whole:
        whole = [([text for sides in tables for text in sides[0]], [text for sides in tables for text in sides[1]])]
    texts = [set(words(text)) for sides in whole for side in sides for text in side]
    occurs = Counter(word for found in texts for word in found)
    known = sorted(word for word, count in occurs.items() if count >= OCCURS and word not in SPARED)
    if not known:
        return {}
    numbers = {word: number for number, word in enumerate(known)}
    places = [(row, numbers[word]) for row, found in enumerate(texts) for word in sorted(found) if word in numbers]
    table_of, wanted, weighs = [], [], []
    for number, sides in enumerate(whole):
        fewest = min(map(len, sides))
        for side, sign in zip(sides, (1.0, -1.0), strict=True):
            table_of += [number] * len(side)
            wanted += [sign] * len(side)
            weighs += [fewest / max(1, len(side))] * len(side)
    weights = _fit(np.asarray(places).T, (len(texts), len(known)), table_of, wanted, weighs)
    return dict(zip(known, weights.tolist(), strict=True))


def _fit(
    places: np.ndarray, shape: tuple[int, int], table_of: list[int], wanted: list[float], weighs: list[float]
) -> np.ndarray:
    """(words,) float64 weights at the minimum; scikit-learn's regression knows no intercepts by table."""
    from scipy.optimize import minimize
    from scipy.sparse import csr_array, hstack
    from scipy.special import expit

    occur = csr_array((np.ones(places.shape[1]), tuple(places)), shape)
    table = csr_array((np.ones(shape[0]), (np.arange(shape[0]), table_of)))
    inputs, sign, share = hstack([occur, table], "csr"), np.array(wanted), np.array(weighs)
    penalty = np.repeat([PENALTY, 0.0], [shape[1], table.shape[1]])

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (inputs @ values)
        slope = inputs.T @ (-share * sign * expit(-margin)) + penalty * values
        return share @ np.logaddexp(0, -margin) + penalty @ values**2 / 2, slope

    def curvature(values: np.ndarray, along: np.ndarray) -> np.ndarray:
        said = expit(inputs @ values)
        return np.asarray(inputs.T @ (share * said * (1 - said) * (inputs @ along)) + penalty * along)

    start = np.zeros(inputs.shape[1])
    found = minimize(objective, start, jac=True, hessp=curvature, method="Newton-CG", options={"xtol": 1e-10})
    return np.asarray(found.x[: shape[1]])


def words(text: str) -> list[str]:
    """Words of a text, in lower case."""
    return [word for word, _, _ in _places(text)]


def _places(text: str) -> Iterator[tuple[str, int, int]]:
    for found in WORD.finditer(text):
        yield found.group().lower().replace("’", "'"), found.start(), found.end()


def texts_of(table: TokenTable, tokenizer: Any) -> list[str]:
    """What each block of a table says."""
    return list(tokenizer.batch_decode([table.ids[start:end].tolist() for start, end in _borders(table)]))


def token_weights(
    table: TokenTable, weights: Mapping[str, float], tokenizer: Any, own: np.ndarray | None = None
) -> np.ndarray:
    """(tokens,) float32: of each token of the file, the largest weight of a word that it is a part of, or 0.

    Tokens without a label, and those of no block of the table, have 0. Where `own` is given (see `own_share`), so have
    those of a word's tokens that stand in other words more often than not; a word's own-most token keeps its weight.
    """
    found = np.zeros(len(table.ids), np.float32)
    pieces: dict[int, str] = {}
    for (start, end), text in zip(_borders(table), texts_of(table, tokenizer), strict=True):
        wanted = [(first, last, weights[word]) for word, first, last in _places(text) if weights.get(word, 0.0) > 0]
        if not wanted:
            continue
        ids = table.ids[start:end].tolist()
        for token in ids:
            if token not in pieces:
                pieces[token] = tokenizer.decode([token])
        ends = list(accumulate(len(pieces[token]) for token in ids))
        if "".join(pieces[token] for token in ids) != text:
            # Bytes of a character are split among tokens, or a mark opens words: take what a token adds to the text so
            # far.
            ends = [len(tokenizer.decode(ids[: number + 1])) for number in range(len(ids))]
        for first, last, weight in wanted:
            numbers = [
                number
                for number, (before, after) in enumerate(pairwise([0, *ends]))
                if before < last and after > first and table.labels[start + number] != IGNORED
            ]
            if own is not None and numbers:
                most = max(numbers, key=lambda number: own[ids[number]])
                numbers = [number for number in numbers if number == most or own[ids[number]] >= OWN]
            for number in numbers:
                found[start + number] = max(found[start + number], weight)
    return found


def own_share(tables: Sequence[tuple[TokenTable, np.ndarray]], mark: float) -> np.ndarray:
    """(tokens of the vocabulary,) fraction of a token's occurrences that fall inside unwanted words.

    The first token of many insults opens harmless words as well: pushing it down would affect those, too.

    Args:
        tables: each with the weights of its tokens, every token of a word marked; both are weighed alike.
        mark: weight from which a word is unwanted.
    """
    taken = []
    for table, found in tables:
        places = np.concatenate([np.arange(0), *(np.arange(start, end) for start, end in _borders(table))])
        taken.append((np.asarray(table.ids)[places], found[places] >= mark))
    size = 1 + max((int(ids.max()) for ids, _ in taken if len(ids)), default=0)
    unwanted, every = np.zeros(size), np.zeros(size)
    for ids, marked in taken:
        every += np.bincount(ids, minlength=size) / max(1, len(ids))
        unwanted += np.bincount(ids, marked, minlength=size) / max(1, len(ids))
    share: np.ndarray = np.divide(unwanted, every, out=np.zeros(size), where=every > 0)
    return share


def unwanted_tokens(tables: Sequence[tuple[TokenTable, np.ndarray]], mark: float) -> list[int]:
    """Tokens of the vocabulary that stand in unwanted words at least as often as in others, and `SEEN` times or more.

    Args: as `own_share` takes them.
    """
    share = own_share(tables, mark)
    seen = np.zeros(len(share))
    for table, found in tables:
        places = np.concatenate([np.arange(0), *(np.arange(start, end) for start, end in _borders(table))])
        seen += np.bincount(np.asarray(table.ids)[places], found[places] >= mark, minlength=len(share))
    tokens: list[int] = np.flatnonzero((share >= OWN) & (seen >= SEEN)).tolist()
    return tokens


def _borders(table: TokenTable) -> Iterator[tuple[int, int]]:
    return zip(table.starts.tolist(), table.ends.tolist(), strict=True)


def covering(table: TokenTable, weights: np.ndarray, mark: float, wanted: int) -> list[int]:
    """`wanted` blocks in which the tokens of a weight of at least `mark` stand about equally often.

    Taken one after another: the block with the largest sum, over its unwanted tokens, of 1 / (1 + how many blocks that
    have been taken hold it), divided by the root of its length. Texts without unwanted tokens, of which there is
    nothing to learn, and yet more of the commonest words are left for last.
    """
    if wanted >= len(table):
        return list(range(len(table)))
    tokens = []
    for start, end in _borders(table):
        unwanted = weights[start + 1 : end] >= mark
        tokens.append(np.unique(np.asarray(table.labels[start + 1 : end])[unwanted]).tolist())
    roots = np.sqrt(table.lengths)
    taken: Counter[int] = Counter()

    def worth(row: int) -> float:
        return float(sum(1 / (1 + taken[token]) for token in tokens[row]) / roots[row])

    # The worth of a block only falls as others are taken, so the first whose worth is unchanged is the best.
    heap = [(-worth(row), row) for row in range(len(table))]
    heapq.heapify(heap)
    rows: list[int] = []
    while len(rows) < wanted:
        estimate, row = heapq.heappop(heap)
        if -estimate == (now := worth(row)):
            rows.append(row)
            taken.update(tokens[row])
        else:
            heapq.heappush(heap, (-now, row))
    return sorted(rows)
