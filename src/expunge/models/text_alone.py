"""Check that a model continues plain text: without pictures or sound, and without looking ahead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from expunge.errors import ModelError, first_line

TOKENS = (1, 3, 9, 7, 11, 20)
AHEAD = 1e-3
"relative change of earlier logits by a later token that counts as rounding"


@torch.no_grad()
def prepare_for_text(model: PreTrainedModel, name: str) -> RemovableHandle | None:
    """Check that a model takes plain text and predicts each token from those before it.

    Models of pictures and text with bidirectional attention on the prompt (PaliGemma) mark tokens predicted one by one
    with `token_type_ids` of 1; all text is marked so from here on, until the returned hook is removed.

    Raises:
        ModelError: it needs more than text, or sees the tokens that it should predict.
    """
    try:
        ahead = _looks_ahead(model)
    except Exception as error:  # whatever a model without its pictures, or on this machine, raises
        raise ModelError(
            f"{name} does not run on text alone",
            seen=f"{type(model).__name__}: {first_line(error)}",
            allowed="a language model, or one of text and pictures that also takes text alone (LLaVA, Qwen2-VL, Gemma 3, "
            "PaliGemma, Idefics 3, SmolVLM, ...)",
            next_step="give the language model that it was built on, if that one must forget",
        ) from error
    if not ahead:
        return None
    handle = model.base_model.register_forward_pre_hook(_mark_as_predicted, with_kwargs=True)
    try:
        ahead = _looks_ahead(model)
    except Exception:  # it knows no such marks
        ahead = True
    if ahead:
        handle.remove()
        raise ModelError(
            f"{name} is not a causal language model: it sees the tokens that it should predict",
            seen=f"{type(model).__name__}: a later token changes what is said of earlier ones",
            allowed="a model that predicts each token from those before it",
            next_step="give another model",
        )
    return handle


def _looks_ahead(model: PreTrainedModel) -> bool:
    """Whether the last token affects the logits before it."""
    ids = torch.tensor([TOKENS, (*TOKENS[:-1], 2)], device=model.device)
    ids %= model.config.get_text_config().vocab_size
    training = model.training
    model.eval()
    try:
        logits = model(input_ids=ids, use_cache=False).logits[:, : len(TOKENS) - 1].float()
    finally:
        model.train(training)
    change = (logits[0] - logits[1]).abs().max()
    return bool(change > AHEAD * logits.abs().max().clamp(min=1e-6))


def _mark_as_predicted(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    ids: Tensor | None = args[0] if args else kwargs.get("input_ids")
    if ids is None:
        ids = kwargs["inputs_embeds"][..., 0].long()
    if kwargs.get("token_type_ids") is None:
        kwargs["token_type_ids"] = torch.ones_like(ids)
    return args, kwargs
