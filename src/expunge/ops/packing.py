"""Short texts end to end in one row, each seeing only itself: nothing is computed for padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from expunge.ops.narrow import computing_dtype

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LONGEST = 128
"tokens of a text, at most: the fast kernel is better for long ones, and no model's attention window is so short"
TOKENS = 1024
"tokens of a row, at most: attention costs their square"
SHARE = 0.75
"share of a padded batch that is text, at most: with less padding there is little to gain"


def worth_packing(lengths: Tensor, width: int) -> bool:
    """Whether a batch of texts of these lengths, padded to `width`, is quicker end to end."""
    total = int(lengths.sum())
    return len(lengths) > 1 and width <= LONGEST and total <= TOKENS and total <= SHARE * len(lengths) * width


def text_places(lengths: Tensor, width: int) -> Tensor:
    """(batch, width) bool: where a batch that is padded on the right holds text."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def packed_hidden(body: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    """(batch, time, width) last hidden states, 0 instead of padding: those of the padded batch within rounding.

    Args:
        body: a decoder without its head.
        ids: (batch, time), padded on the right.
        lengths: (batch,) tokens before padding.
    """
    times = torch.arange(ids.shape[1], device=ids.device)
    there = text_places(lengths.to(ids.device), ids.shape[1])
    text = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)[there]
    place = times.expand_as(ids)[there]
    sees = (text[:, None] == text) & (place[:, None] >= place)
    dtype = computing_dtype(body)
    mask = torch.zeros(sees.shape, dtype=dtype, device=ids.device).masked_fill(~sees, torch.finfo(dtype).min)
    found = body(
        input_ids=ids[there][None], attention_mask=mask[None, None], position_ids=place[None], use_cache=False
    ).last_hidden_state[0]
    hidden: Tensor = found.new_zeros(*ids.shape, found.shape[-1])
    return hidden.masked_scatter(there[..., None], found)


@torch.no_grad()
def packs(model: PreTrainedModel) -> bool:
    """Whether texts end to end come to the same: tried once on a few tokens. Not every model takes a mask and places."""
    body = model.base_model
    if body is model:
        return False
    vocabulary = model.config.get_text_config().vocab_size
    ids = torch.tensor([[1, 5, 2, 7, 3], [9, 4, 1, 1, 1], [8, 6, 5, 1, 1]], device=model.device) % vocabulary
    lengths = torch.tensor([5, 2, 3])
    training = model.training
    model.eval()
    try:
        packed = packed_hidden(body, ids, lengths)
        padded = body(input_ids=ids, use_cache=False).last_hidden_state
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return False
    finally:
        model.train(training)
    there = text_places(lengths.to(model.device), ids.shape[1])
    scale = float(padded.float().abs().max().clamp(min=1e-6))
    close = 1e-4 if padded.dtype in (torch.float32, torch.float64) else 3e-2
    return bool((packed - padded)[there].float().abs().max() <= close * scale)
