"""Gradient checkpointing of a model, by transformers' names for it: `activation_checkpointing_...`, in earlier
versions `gradient_checkpointing_...`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_checkpointing(model: Any) -> bool:
    """Whether it is on."""
    now = getattr(model, "is_activation_checkpointing", None)
    return bool(model.is_gradient_checkpointing if now is None else now)


def enable_checkpointing(model: Any, settings: Mapping[str, Any] | None = None) -> None:
    """Turn it on: layers are recomputed in the backward pass, instead of keeping their activations.

    Args:
        settings: of `torch.utils.checkpoint`; None: transformers' own.
    """
    _of(model, "enable")(None if settings is None else dict(settings))


def disable_checkpointing(model: Any) -> None:
    """Turn it off."""
    _of(model, "disable")()


def _of(model: Any, what: str) -> Any:
    now = getattr(model, f"activation_checkpointing_{what}", None)
    return getattr(model, f"gradient_checkpointing_{what}") if now is None else now
