"""How long a text a language model takes, and which tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from expunge.errors import DataError

NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
"what configurations call it"
FROM_PADDING = ("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text")
"kinds that count positions from the one after the padding token, which is 1: two positions are never used"


def positions(config: Any) -> int | None:
    """Tokens of a text, at most; None where the configuration names no bound, as with recurrent models.

    Models with a table of positions (GPT-2, OPT) have no more; those with rotary positions were not trained for more.
    """
    text = config.get_text_config()
    for name in NAMES:
        said = getattr(text, name, None)
        if isinstance(said, int) and not isinstance(said, bool) and said > 0:
            return said - 2 if getattr(text, "model_type", "") in FROM_PADDING else said
    return None


def fit_prompts(
    prompts: Sequence[Sequence[int]], max_new_tokens: int, limit: int | None
) -> tuple[list[list[int]], int, list[str]]:
    """(prompts, new tokens, notices) that a model of `limit` positions can continue.

    Where they do not fit, new tokens take half of the positions at most, and a prompt that is longer than the rest loses
    its beginning; the answers to others stay as long.
    """
    whole = [list(prompt) for prompt in prompts]
    longest = max(map(len, whole), default=0)
    if limit is None or longest + max_new_tokens <= limit:
        return whole, max_new_tokens, []
    new = max(1, min(max_new_tokens, limit // 2))
    room = max(1, limit - new)
    notices = []
    if new < max_new_tokens:
        notices.append(f"answers have at most {new} tokens and not {max_new_tokens}: the model takes {limit} in all")
    if long := sum(len(prompt) > room for prompt in whole):
        notices.append(f"{long} prompts lost their beginning: with its answer the model takes {limit} tokens")
    return [prompt[-room:] for prompt in whole], new, notices


def refuse_unknown_tokens(ids: Sequence[int], known: int, tokenizer: Any, prompt: str) -> None:
    """Raise `DataError` where a prompt holds a token beyond the model's `known` ones."""
    if ids and (largest := max(ids)) >= known:
        raise DataError(
            "a prompt holds a token that the model does not have",
            seen=f"number {largest}, {tokenizer.decode([largest])!r}, in {prompt[:80]!r}",
            allowed=f"numbers below {known}",
            next_step="take it out of the prompt, or give the tokenizer that belongs to the model",
        )
