"""Verbatim recall: how much of the text a model still recites.

Each figure has two definitions: this project's own, which the verdict uses, and the one of
published figures, for comparison.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from expunge.core.score import Score, Which
from expunge.data.text.token_stream import Encoder
from expunge.data.text.words import mostly_unspaced, units
from expunge.kinds.language.measures.declared import DECLARED
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.scoring import token_scores
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.measures.statistics import share_interval
from expunge.train.step import IGNORED, Batch

PREFIX = 32
"tokens given; Carlini et al. 2023 (arXiv:2202.07646) use 50, which a 135M model's short blocks cannot spare"
SUFFIX = 64
"tokens to continue"
_WORD = re.compile(r"[a-z0-9]+")


RECALL = (
    "verbatim_recall",
    "rouge_l_recall",
    "rouge_l_f1",
    "extraction_strength",
    "extraction_strength_openunlearning",
)
"measures of `verbatim_recall`"


def published_rouge_l(candidate: str, reference: str) -> tuple[float, float]:
    """(recall, F1) of ROUGE-L with the figures of the package rouge-score 0.1.2 with its stemmer.

    TOFU (arXiv:2401.06121) and OpenUnlearning report that recall, OpenUnlearning that F1 for MUSE. Lower
    case; runs of a-z and 0-9 are the words, everything else separates them; words of more than three letters are
    stemmed (Porter). It handles no other script: a text without these letters has no words, and counts 0.
    """
    return _rouge_l(_stems(candidate), _stems(reference))


def muse_rouge_l(candidate: str, reference: str) -> float:
    """F1 of ROUGE-L with that package's figures, without stemmer: VerbMem and KnowMem in MUSE's code
    (arXiv:2407.06460)."""
    return _rouge_l(_WORD.findall(candidate.lower()), _WORD.findall(reference.lower()))[1]


def _rouge_l(said: Sequence[str], true: Sequence[str]) -> tuple[float, float]:
    longest = _longest(said, true) if said and true else 0
    if not longest:
        return 0.0, 0.0
    precision, recall = longest / len(said), longest / len(true)
    return recall, 2 * precision * recall / (precision + recall)


def _stems(text: str) -> list[str]:
    stem = _stemmer().stem
    return [stem(word) if len(word) > 3 else word for word in _WORD.findall(text.lower())]


@cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer  # takes seconds; rouge-score uses it, with its extensions

    return PorterStemmer()


def latin(texts: Sequence[str]) -> bool:
    """Whether most letters of texts are a-z, so that `published_rouge_l` has words to compare."""
    letters = [letter for text in texts for letter in text.lower() if letter.isalpha()]
    return bool(letters) and sum("a" <= letter <= "z" for letter in letters) > len(letters) / 2


def rouge_l(candidate: Sequence[object], reference: Sequence[object]) -> float:
    """ROUGE-L F1 (Lin 2004, section 3): 2 P R / (P + R), with the longest common subsequence over each length."""
    if not candidate or not reference:
        return 0.0
    longest = _longest(candidate, reference)
    precision, recall = longest / len(candidate), longest / len(reference)
    return 0.0 if longest == 0 else 2 * precision * recall / (precision + recall)


def _longest(candidate: Sequence[object], reference: Sequence[object]) -> int:
    """Length of the longest common subsequence."""
    codes = {item: number for number, item in enumerate(dict.fromkeys(reference))}
    wanted = np.array([codes[item] for item in reference])
    row = np.zeros(len(reference) + 1, np.int64)
    for item in candidate:
        equal = wanted == codes.get(item, -1)
        # row'[j] = row[j-1] + 1 where equal, else max(row[j], row'[j-1]): a running maximum over the row
        row[1:] = np.maximum.accumulate(np.maximum(row[1:], np.where(equal, row[:-1] + 1, 0)))
    return int(row[-1])


def extraction_strength(greedy: Sequence[bool]) -> float:
    """Share of a suffix that a model recites from some point on to the end (Carlini et al. 2021, arXiv:2012.07805): 1 -
    k / L with the smallest k such that all tokens from k on are the greedy choice; 0 if the last is not.

    `greedy[i]`: whether token i is the model's first choice, given the true tokens before it.
    """
    length = 0
    for right in reversed(list(greedy)):
        if not right:
            break
        length += 1
    return length / len(greedy) if len(greedy) else 0.0


def openunlearning_extraction_strength(greedy: Sequence[bool]) -> float:
    """The same as in OpenUnlearning's code: k goes no further than L - 1, so the least value is 1 / L, not 0."""
    return max(extraction_strength(greedy), 1 / len(greedy)) if len(greedy) else 0.0


def passages(table: TokenTable, wanted: int, prefix: Sequence[int] = ()) -> list[np.ndarray]:
    """At most `wanted` passages of PREFIX + SUFFIX tokens, evenly spread over the table's plain-text blocks.

    `prefix`, what the tokenizer puts before a text, comes first in every passage, as it does in blocks.
    """
    size, begin = PREFIX + SUFFIX, np.asarray(prefix, dtype=table.ids.dtype)
    places = [
        int(table.starts[row]) + start
        for row in range(len(table))
        if int(table.labels[table.starts[row] + 1]) != IGNORED  # a block with a prompt is not a text to recite
        for start in range(_marked(table, row, begin), int(table.lengths[row]) - size + 1, size)
    ]
    chosen = [places[i] for i in spread(len(places), wanted)]
    return [np.concatenate((begin, table.ids[at : at + size])) for at in chosen]


def _marked(table: TokenTable, row: int, prefix: np.ndarray) -> int:
    """Number of prefix tokens that a block begins with: all or none."""
    start = int(table.starts[row])
    return len(prefix) if np.array_equal(table.ids[start : start + len(prefix)], prefix) else 0


def verbatim_recall(
    task: CausalLM, table: TokenTable, split: str, which: Which, wanted: int
) -> tuple[list[Score], list[dict[str, Any]]]:
    """ROUGE-L of greedy continuations against the true ones, and extraction strength, over passages of the text.

    By this project's definition ROUGE-L is over words by white space; in scripts without spaces between words, over
    characters (`data.words.units`), and the score's unit says so. Published definitions are given with both
    (`published_rouge_l`, only for texts in a-z, and `openunlearning_extraction_strength`). Returns no scores where the
    table has no passage long enough; the second value holds (prompt, true, said) of each passage.
    """
    tokens = passages(table, wanted, Encoder(task.tokenizer).prefix)
    if not tokens:
        return [], []
    decode = task.tokenizer.decode
    prompts = [passage[:-SUFFIX].tolist() for passage in tokens]
    said = [texts[0] for texts in task.generate(prompts, SUFFIX)]
    true = [decode(passage[-SUFFIX:].tolist(), skip_special_tokens=True) for passage in tokens]
    figures = {"verbatim_recall": [rouge_l(units(a), units(b)) for a, b in zip(said, true, strict=True)]}
    if latin(true):
        both = [published_rouge_l(a, b) for a, b in zip(said, true, strict=True)]
        figures |= {"rouge_l_recall": [recall for recall, _ in both], "rouge_l_f1": [f1 for _, f1 in both]}
    batches = []
    by_characters = ", characters" if mostly_unspaced(" ".join(true)) else ""
    for start in range(0, len(tokens), 8):
        ids = torch.from_numpy(np.stack(tokens[start : start + 8]).astype(np.int64))
        labels = ids.clone()
        labels[:, :-SUFFIX] = IGNORED
        batches.append(Batch(ids=ids, labels=labels, lengths=torch.full((len(ids),), ids.shape[1]), normaliser=1.0))
    greedy = [right.tolist() for _, right in token_scores(task, batches)]
    figures["extraction_strength"] = [extraction_strength(right) for right in greedy]
    figures["extraction_strength_openunlearning"] = [openunlearning_extraction_strength(right) for right in greedy]
    scores = []
    for measure, values in figures.items():
        declared = DECLARED[measure]
        unit = declared.unit + (by_characters if measure == "verbatim_recall" else "")
        scores.append(declared.score(split, which, share_interval(values), values, unit=unit))
    answers = [
        {"prompt": decode(p, skip_special_tokens=True), "true": t, "said": s}
        for p, t, s in zip(prompts, true, said, strict=True)
    ]
    return scores, answers
