"""Verbatim recall: how much of the text a model still recites."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from expunge.data.tables import TokenTable
from expunge.data.token_stream import Encoder
from expunge.data.words import mostly_unspaced, units
from expunge.measures.perplexity import spread
from expunge.measures.score import Score, Which
from expunge.measures.statistics import share_interval
from expunge.tasks.base import IGNORED, Batch
from expunge.tasks.causal_lm import CausalLM

PREFIX = 32
"tokens given; Carlini et al. 2023 (arXiv:2202.07646) use 50, which a 135M model's short blocks cannot spare"
SUFFIX = 64
"tokens asked for"


def rouge_l(candidate: Sequence[object], reference: Sequence[object]) -> float:
    """ROUGE-L F1 (Lin 2004, section 3): 2 P R / (P + R), with the longest common subsequence over each length."""
    if not candidate or not reference:
        return 0.0
    codes = {item: number for number, item in enumerate(dict.fromkeys(reference))}
    wanted = np.array([codes[item] for item in reference])
    row = np.zeros(len(reference) + 1, np.int64)
    for item in candidate:
        equal = wanted == codes.get(item, -1)
        # row'[j] = row[j-1] + 1 where equal, else max(row[j], row'[j-1]): a running maximum over the row
        row[1:] = np.maximum.accumulate(np.maximum(row[1:], np.where(equal, row[:-1] + 1, 0)))
    longest = int(row[-1])
    precision, recall = longest / len(candidate), longest / len(reference)
    return 0.0 if longest == 0 else 2 * precision * recall / (precision + recall)


def extraction_strength(greedy: Sequence[bool]) -> float:
    """Share of a suffix that a model recites from some point on to the end (Carlini et al. 2021, arXiv:2012.07805, as
    in OpenUnlearning): 1 - k / L with the smallest k such that all tokens from k on are the greedy choice.

    `greedy[i]`: whether token i is the model's first choice, given the true tokens before it. 0 where the last is not.
    """
    length = 0
    for right in reversed(list(greedy)):
        if not right:
            break
        length += 1
    return length / len(greedy) if len(greedy) else 0.0


def passages(table: TokenTable, wanted: int, prefix: Sequence[int] = ()) -> list[np.ndarray]:
    """At most `wanted` passages of PREFIX + SUFFIX tokens, evenly spread over the table's plain-text blocks.

    Args:
        prefix: what the tokenizer puts before a text; it comes first in every passage, as it does in blocks.
    """
    size, begin = PREFIX + SUFFIX, np.asarray(prefix, dtype=table.ids.dtype)
    places = [
        int(table.starts[row]) + start
        for row in range(len(table))
        if int(table.labels[table.starts[row] + 1]) != IGNORED  # a block with a prompt is no text to recite
        for start in range(_marked(table, row, begin), int(table.lengths[row]) - size + 1, size)
    ]
    chosen = [places[i] for i in spread(len(places), wanted)]
    return [np.concatenate((begin, table.ids[at : at + size])) for at in chosen]


def _marked(table: TokenTable, row: int, prefix: np.ndarray) -> int:
    """Tokens of the prefix that a block begins with: all or none."""
    start = int(table.starts[row])
    return len(prefix) if np.array_equal(table.ids[start : start + len(prefix)], prefix) else 0


def verbatim_recall(
    task: CausalLM, table: TokenTable, split: str, which: Which, wanted: int
) -> tuple[list[Score], list[dict[str, str]]]:
    """ROUGE-L of greedy continuations against the true ones, and extraction strength, over passages of the text.

    ROUGE-L is over words by white space; of scripts that put no space between words, over characters (`data.words.units`),
    and the score's unit says so. Returns no scores where the table has no passage long enough; the second value
    holds (prompt, true, said) of each passage.
    """
    tokens = passages(table, wanted, Encoder(task.tokenizer).prefix)
    if not tokens:
        return [], []
    decode = task.tokenizer.decode
    prompts = [passage[:-SUFFIX].tolist() for passage in tokens]
    said = [texts[0] for texts in task.generate(prompts, SUFFIX)]
    true = [decode(passage[-SUFFIX:].tolist(), skip_special_tokens=True) for passage in tokens]
    rouge = [rouge_l(units(a), units(b)) for a, b in zip(said, true, strict=True)]
    by_characters = ", characters" if mostly_unspaced(" ".join(true)) else ""
    strength = []
    for start in range(0, len(tokens), 8):
        ids = torch.from_numpy(np.stack(tokens[start : start + 8]).astype(np.int64))
        labels = ids.clone()
        labels[:, :-SUFFIX] = IGNORED
        batch = Batch(ids=ids, labels=labels, lengths=torch.full((len(ids),), ids.shape[1]), normaliser=1.0)
        strength += [extraction_strength(greedy.tolist()) for _, greedy in task.token_scores(batch)]
    scores = []
    for measure, values in (("verbatim_recall", rouge), ("extraction_strength", strength)):
        mean, low, high = share_interval(values)
        scores.append(
            Score(
                measure=measure,
                split=split,
                model=which,
                value=mean,
                low=low,
                high=high,
                n=len(values),
                higher_is="worse" if split == "forget" else "better",
                unit=f"ROUGE-L F1{by_characters}" if measure == "verbatim_recall" else "share of the suffix",
                examples=tuple(values),
            )
        )
    answers = [
        {"prompt": decode(p, skip_special_tokens=True), "true": t, "said": s}
        for p, t, s in zip(prompts, true, said, strict=True)
    ]
    return scores, answers
