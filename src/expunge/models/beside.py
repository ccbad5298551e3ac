"""What stands beside a model and has a say in its logits: an assistant, or gated adapters."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from transformers import DynamicCache, PreTrainedModel

from expunge.models import assistant, gate
from expunge.models.digest import GATED

NAMES = (f"{assistant.BESIDE}.", f"{gate.BESIDE}.")
"how names of weights begin that are no model's own"


def beside(model: nn.Module) -> nn.Module | None:
    """What stands beside a model; None if nothing does."""
    return assistant.assistant_of(model) or gate.gate_of(model)


def keeps_of(folder: Path) -> str:
    """What every reader of the results has to know of a model that lies there and keeps something beside it."""
    return gate.KEEPS if (folder / GATED).is_file() else assistant.KEEPS


def cache_for(model: PreTrainedModel) -> DynamicCache:
    """An empty cache of a model, and of what stands beside it."""
    if (found := assistant.assistant_of(model)) is not None:
        cache = assistant.BothCaches(config=model.config)
        cache.of_assistant = DynamicCache(config=found.config)
        return cache
    if gate.gate_of(model) is not None:
        gated = gate.GatedCaches(config=model.config)
        gated.of_assistant = DynamicCache(config=model.config)
        return gated
    return DynamicCache(config=model.config)
