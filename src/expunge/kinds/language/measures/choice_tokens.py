"""The tokens of a multiple-choice question's choices, as lm-evaluation-harness divides them into context and
continuation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from expunge.errors import DataError
from expunge.kinds.language.limits import positions
from expunge.kinds.language.measures.benchmarks import Question

MAX_LENGTH = 2048
"tokens, for a model and tokenizer without a limit"


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice with its context."""

    tokens: list[int]
    "context and continuation"
    continuation: int
    "tokens at the end that are scored"


def max_length(model: Any, tokenizer: Any) -> int:
    """Tokens that a model can read, according to it or its tokenizer."""
    stated = positions(model.config)
    if stated is None and tokenizer.model_max_length < 10**9:  # transformers' "no limit" is 1e30
        stated = tokenizer.model_max_length
    return MAX_LENGTH if stated is None else int(stated)


def encoded(tokenizer: Any, questions: Sequence[Question], max_length: int) -> list[list[Choice]]:
    """Tokens of every choice. The whole text is encoded and divided where the context, encoded alone, ends, so that a
    word is not cut; spaces at the context's end belong to the continuation."""
    special = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    first = [] if special is None else [special]  # stands for a context of no tokens
    pairs = []
    for question in questions:
        for context, continuation in question.choices():
            bare = context.rstrip()
            pairs.append((bare, context[len(bare) :] + continuation))
    texts = list({context for context, _ in pairs} | {context + continuation for context, continuation in pairs})
    begun = tokenizer.decode(first)
    tokens: dict[str, list[int]] = {}
    for add in (True, False):  # a text with its own first token gets no second one
        group = [text for text in texts if text.startswith(begun) != add]
        if group:
            tokens.update(zip(group, tokenizer(group, add_special_tokens=add)["input_ids"], strict=True))
    found = []
    for context, continuation in pairs:
        before = tokens[context] or first
        after = tokens[context + continuation][len(tokens[context]) :]
        if not before or not 0 < len(after) <= max_length:
            raise DataError(
                "a choice cannot be scored",
                seen=f"{continuation!r}, {len(after)} tokens after {context[-60:]!r}",
                allowed=f"1 to {max_length} tokens",
                next_step="remove the question",
            )
        found.append(Choice((before + after)[-(max_length + 1) :], len(after)))
    remaining = iter(found)
    return [[next(remaining) for _ in question.choices()] for question in questions]
