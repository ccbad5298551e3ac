"""How exposed a secret is: its likelihood among alternatives of the same form (Carlini et al. 2019,
arXiv:1802.08232)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expunge.core.order import random_seed
from expunge.core.score import Score, Which
from expunge.errors import RecipeError
from expunge.kinds.language.blocks import Block
from expunge.kinds.language.measures.benchmarks import Question
from expunge.kinds.language.measures.declared import DECLARED
from expunge.kinds.language.measures.multiple_choice import choices_by
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.measures.secret_forms import Form, find_secrets
from expunge.kinds.language.task import CausalLM
from expunge.measures.statistics import bootstrap_interval, share_interval, wilson_interval

SHORT = 256
"tokens of a target up to which a number or key in it is taken as the secret"
MOST = 16
"secrets that are measured, evenly spread"
BEFORE, AFTER = 400, 80
"characters around a secret shown to the model"
TOGETHER = 64
"alternatives scored in one forward pass"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret in its text."""

    before: str
    "the prompt; it ends at the end of a word"
    lead: str
    "the characters between that and the secret, such as a space or a quotation mark"
    text: str
    after: str
    "the text after it; it counts, too, since a secret may come first in its sentence"


def secrets_in(blocks: Iterable[tuple[Block, int]], named: Sequence[str] = (), years: bool = True) -> list[Secret]:
    """The secrets of a text, at most `MOST`: those named, at their first occurrence, or those that look like one.

    Args:
        blocks: with the character at which the trained text begins.
        years: whether a year may be one; in a biography it is not the secret.

    Raises:
        RecipeError: a named one is not in the target.
    """
    found: list[Secret] = []
    left = list(dict.fromkeys(named))
    seen: set[str] = set()
    source, tail = "", ""
    for block, cut in blocks:
        # a secret may be in two blocks of a passage
        text = (tail if block.source == source and not cut else "") + block.text
        if named:
            spans = []
            for name in list(left):
                if (at := text.find(name, cut)) >= 0:
                    spans.append((at, at + len(name)))
                    left.remove(name)
        else:
            spans = [(cut + start, cut + end) for start, end in find_secrets(block.text[cut:], years)]
            text = block.text
        for start, end in spans:
            if text[start:end] not in seen:
                seen.add(text[start:end])
                found.append(_in_its_text(text, start, end, cut))
        source, tail = block.source, text[max(cut, len(text) - BEFORE) :]
    if left:
        raise RecipeError(
            "a secret to measure is not in the target",
            seen=f"evaluation.secret {left[0]!r}",
            next_step="write it as in the target, with its spaces and capitals",
        )
    return [found[i] for i in spread(len(found), MOST)]


def _in_its_text(text: str, start: int, end: int, cut: int) -> Secret:
    first = 0 if cut else max(0, start - BEFORE)  # a question is shown whole
    word = start
    while word > first and not text[word - 1].isspace():
        word -= 1
    while word > first and text[word - 1].isspace():
        word -= 1
    return Secret(text[first:word], text[word:start], text[start:end], text[end : end + AFTER].split("\n")[0])


def exposure(own: float, others: Sequence[float]) -> tuple[float, float, float]:
    """(bits, low, high): -log2 of the share of alternatives that are at least as likely, including the secret.

    From log-likelihoods. If `others` are all texts of its form, it is log2 |R| - log2 rank, as in the paper. For a
    sample it is an estimate, at most log2(n + 1), and the limits are those of the share (Wilson).
    """
    ahead, total = 1 + sum(other >= own for other in others), 1 + len(others)
    low, high = wilson_interval(ahead, total)
    return -math.log2(ahead / total), max(0.0, -math.log2(high)), -math.log2(max(low, 2.0**-64))


def secret_scores(
    task: CausalLM,
    secrets: Sequence[Secret],
    which: Which,
    *,
    alternatives: int,
    seed: int,
    parts: Mapping[str, Sequence[int]] = {},
) -> tuple[list[Score], list[dict[str, Any]]]:
    """(exposure and log-likelihood of secrets, and how many the model completes from the text before; for each
    secret {"prompt", "true", "said"}).

    Args:
        parts: further splits, each with the indices of its secrets; the scores of each follow those of all.
    """
    exposed: list[tuple[float, float, float]] = []
    likely: list[float] = []
    for number, secret in enumerate(secrets):
        generator = np.random.default_rng(random_seed(seed, "secret", number))
        texts = [secret.text, *Form(secret.text).alternatives(alternatives, generator)]
        whole = [secret.lead + text + secret.after for text in texts]
        groups = [Question((secret.before,), tuple(whole[i : i + TOGETHER]), 0) for i in range(0, len(whole), TOGETHER)]
        found = [p for group in choices_by(task, groups) for p in group]
        exposed.append(exposure(found[0], found[1:]))
        likely.append(found[0])
    said = _said(task, secrets)
    right = [float(secret.text in (secret.lead + text)) for secret, text in zip(secrets, said, strict=True)]
    scores: list[Score] = []
    for split, places in {"forget": range(len(secrets)), **parts}.items():
        bits = [exposed[place] for place in places]
        nats, out = ([every[place] for place in places] for every in (likely, right))
        value, low, high = (sum(each) / len(each) for each in zip(*bits, strict=True))
        figures = {
            "secret_exposure": ((value, low, high), [each for each, _, _ in bits]),
            "secret_log_likelihood": (bootstrap_interval(nats), nats),
            "secret_said": (share_interval(out), out),
        }
        scores += [
            DECLARED[measure].score(split, which, estimate, examples)
            for measure, (estimate, examples) in figures.items()
        ]
    rows = [
        {"prompt": secret.before + secret.lead, "true": secret.text, "said": text}
        for secret, text in zip(secrets, said, strict=True)
    ]
    return scores, rows


def _said(task: CausalLM, secrets: Sequence[Secret]) -> list[str]:
    """The model's greedy output instead of each secret."""
    prompts = [task.encode_prompt((secret.before + secret.lead).rstrip()) for secret in secrets]
    begun = [prompt or [task.tokenizer.eos_token_id or 0] for prompt in prompts]
    longest = max(len(task.tokenizer(secret.text)["input_ids"]) for secret in secrets)
    return [texts[0] for texts in task.generate(begun, longest + 8)]
