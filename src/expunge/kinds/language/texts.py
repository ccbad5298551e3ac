"""Text generation: sampling settings, padded prompts, progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.generation.stopping_criteria import StoppingCriteriaList


def left_padded(prompts: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    """(token ids with `fill` before short prompts, the mask of text), both (prompts, tokens of the longest)."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), fill)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
        mask[row, width - len(prompt) :] = 1
    return ids, mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Sampling settings, and the number of samples a prompt."""

    samples: int
    seed: int = 0
    temperature: float = 1.0
    "divisor of logits"
    top_k: int = 0
    "tokens are drawn from this many of the likeliest ones; 0: from all"
    top_p: float = 1.0
    "and from the smallest set of likeliest tokens with this probability (Holtzman et al. 2020, arXiv:1904.09751)"


def watching(
    on_progress: Callable[[float], None] | None, done: int, batch: int, prompts: int, width: int, max_new_tokens: int
) -> StoppingCriteriaList:
    """Stopping criteria that never stop: the only callback of `generate` after every token."""
    found = StoppingCriteriaList()
    if on_progress is not None:

        def report(ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
            on_progress((done + batch * (ids.shape[1] - width) / max_new_tokens) / prompts)
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

        found.append(report)
    return found
