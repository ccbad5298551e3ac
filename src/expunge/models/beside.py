"""Modules that change a model's logits: an assistant, or gated adapters."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from transformers import DynamicCache, PreTrainedModel

from expunge.models import assistant, gate
from expunge.models.digest import GATED

NAMES = (f"{assistant.BESIDE}.", f"{gate.BESIDE}.")
"how names of weights begin that are no model's own"


def beside(model: nn.Module) -> nn.Module | None:
    """The assistant or gate of a model; None if it has neither."""
    return assistant.assistant_of(model) or gate.gate_of(model)


def keeps_of(folder: Path) -> str:
    """The note for readers on the model in a folder, if it has an assistant or adapters."""
    return gate.KEEPS if (folder / GATED).is_file() else assistant.KEEPS


def cache_for(model: PreTrainedModel) -> DynamicCache:
    """An empty cache of a model, and of its assistant or gate."""
    if (found := assistant.assistant_of(model)) is not None:
        cache = assistant.BothCaches(config=model.config)
        cache.of_assistant = DynamicCache(config=found.config)
        return cache
    if gate.gate_of(model) is not None:
        gated = gate.GatedCaches(config=model.config)
        gated.of_assistant = DynamicCache(config=model.config)
        return gated
    return DynamicCache(config=model.config)
