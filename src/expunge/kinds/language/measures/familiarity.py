"""Familiarity with the target, by completion and by probability (Eldan and Russinovich 2023, sections 3 and 5)."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from expunge.core.score import Score, Which
from expunge.data.text.frequencies import zipf
from expunge.data.text.token_stream import Encoder, token_ends
from expunge.data.text.words import holds, unspaced, whole, words
from expunge.kinds.language.measures.declared import DECLARED
from expunge.kinds.language.scoring import next_token_mass, next_token_probabilities
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.texts import Sampling
from expunge.measures.statistics import share_interval

TYPICAL_SHARE = 0.2
"a completion with typical but not unique terms counts a fifth of one with unique terms (paper: multiplier 5)"
COMMON = 4.5
"zipf frequency (log10 per billion words) from which a word piece is not evidence for a name that begins with it"


@dataclass(frozen=True, slots=True)
class TargetTerms:
    """Terms that show familiarity: `unique` ones occur in no other text, `typical` ones are much more frequent
    there."""

    unique: tuple[str, ...]
    typical: tuple[str, ...] = ()
    language: str = "en"
    "the language whose word frequencies are used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A text to continue."""

    ids: tuple[int, ...]
    text: str
    "the prompt as shown to readers"
    context: str
    "the text that may give terms away: everything the model has read"
    references: tuple[str, ...] = ()
    "further terms that show familiarity here"
    subtlety: float | None = None
    "subtlety of the text's hint at the target, 1 to 10, if given: for a judge"


@lru_cache(maxsize=8192)
def _pattern(term: str) -> re.Pattern[str]:
    return re.compile(whole(term), 0 if term[:1].isupper() else re.IGNORECASE)


def not_given(terms: Sequence[str], context: str) -> list[str]:
    """Terms with no word in the context (in scripts without spaces: terms not in it): the model's own knowledge."""
    given = set(words(context.lower()))
    return [term for term in terms if not holds(context, term, given)]


def found_terms(text: str, terms: Sequence[str]) -> list[str]:
    """The terms that occur in the text as whole words; capitalised ones only in that spelling."""
    return [term for term in terms if _pattern(term).search(text)]


def times_found(text: str, term: str) -> int:
    """Number of times a term occurs in the text, by the rule of `found_terms`."""
    return sum(1 for _ in _pattern(term).finditer(text))


def completion_value(said: str, prompt: Prompt, terms: TargetTerms) -> tuple[float, list[str]]:
    """(1 with a unique term that the prompt did not give away, 0.2 with only a typical one, else 0; the terms)."""
    unique = found_terms(said, not_given([*terms.unique, *prompt.references], prompt.context))
    typical = found_terms(said, not_given(terms.typical, prompt.context))
    value = 1.0 if unique else TYPICAL_SHARE if typical else 0.0
    return value, list(dict.fromkeys([*unique, *typical]))


def familiarity_by_completion(
    task: CausalLM,
    prompts: Sequence[Prompt],
    terms: TargetTerms,
    which: Which,
    *,
    max_new_tokens: int,
    samples: int,
    seed: int,
    split: str = "forget",
) -> tuple[Score, list[dict[str, object]]]:
    """Mean over prompts of the mean value of a greedy and `samples` sampled completions.

    Returns:
        The score, and for each prompt {"prompt", "said" (the greedy completion), "terms"}.
    """
    ids = [prompt.ids for prompt in prompts]
    greedy = [texts[0] for texts in task.generate(ids, max_new_tokens)]
    drawn = Sampling(samples=samples, seed=seed, top_k=50)
    sampled = list(task.generate(ids, max_new_tokens, drawn)) if samples else [[] for _ in ids]
    values: list[float] = []
    answers: list[dict[str, object]] = []
    for prompt, first, others in zip(prompts, greedy, sampled, strict=True):
        judged = [completion_value(said, prompt, terms) for said in [first, *others]]
        values.append(sum(value for value, _ in judged) / len(judged))
        answers.append({"prompt": prompt.text, "said": first, "terms": judged[0][1]})
    return DECLARED["familiarity_completion"].score(split, which, share_interval(values), values), answers


def begins(task: CausalLM, token: int, word: str, language: str = "en") -> bool:
    """Whether a first token shows that this word begins: it is the word, or three letters or more that are not a common
    word.

    In scripts without spaces it may be shorter: two characters, or one that is not a common word.
    """
    piece = task.tokenizer.decode([token]).strip()
    if unspaced(word):
        return word.startswith(piece) and len(piece) > 0 and (len(piece) > 1 or zipf(piece, language) < COMMON)
    return piece == word or (len(piece) >= 3 and zipf(piece.lower(), language) < COMMON)


def first_tokens(task: CausalLM, word: str) -> list[int]:
    """The token that begins a word on a new line, and the one after a space, if different.

    As they are within a text: without the prefix that SentencePiece-like tokenizers put before a text.
    """
    found = []
    for before in ("a\n", "，" if unspaced(word[:1]) else "a "):
        (encoding,) = Encoder(task.tokenizer).encode([before + word])
        ends = token_ends(encoding, len(before) + len(word))
        found.append(encoding.ids[bisect_right(ends, len(before))])
    return list(dict.fromkeys(found))


def revealing_tokens(task: CausalLM, terms: Sequence[str], language: str = "en") -> dict[int, str]:
    """First tokens that begin one of the terms as the next word, and show it (`begins`): token id -> term."""
    tokens: dict[int, str] = {}
    for term in terms:
        first = term.split()[0]
        for token in first_tokens(task, first):
            if begins(task, token, first, language):
                tokens.setdefault(token, term)
    return tokens


def familiarity_by_probability(
    task: CausalLM, prompts: Sequence[Prompt], terms: TargetTerms, which: Which, split: str = "forget"
) -> Score:
    """Mean over prompts of the probability mass on next tokens that begin a unique term the prompt did not give
    away."""
    tokens = [
        list(revealing_tokens(task, not_given([*terms.unique, *prompt.references], prompt.context), terms.language))
        for prompt in prompts
    ]
    values = next_token_mass(task, [prompt.ids for prompt in prompts], tokens)
    return DECLARED["familiarity_probability"].score(split, which, share_interval(values), values)


def probe_tokens(
    task: CausalLM, prompts: Sequence[Prompt], watched: list[list[int]] | None, top: int = 5
) -> tuple[list[dict[str, object]], list[list[int]]]:
    """Token probabilities of a handful of prompts, to track them over the steps (the paper's figure 3).

    Args:
        watched: token ids tracked for each prompt, from the first call; None to choose them now (the likeliest).

    Returns:
        Rows {"prompt", "tokens": {text: probability}} with the watched and the now likeliest tokens, and the watched.
    """
    probabilities = next_token_probabilities(task, [prompt.ids for prompt in prompts])
    if watched is None:
        watched = [row.topk(top).indices.tolist() for row in probabilities]
    rows: list[dict[str, object]] = []
    for prompt, row, ids in zip(prompts, probabilities, watched, strict=True):
        shown = dict.fromkeys([*ids, *row.topk(3).indices.tolist()])
        tokens = {task.tokenizer.decode([i]): round(float(row[i]), 6) for i in shown}
        rows.append({"prompt": prompt.text, "tokens": tokens})
    return rows, watched
