"""Training a LoRA adapter in the place of the weights: added, trained, merged into the weights it stands beside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel

NAME = "unlearning"


@contextlib.contextmanager
def adapter(model: PreTrainedModel, rank: int | None, seed: int) -> Iterator[None]:
    """Only an adapter of this rank is trainable inside; on the way out it is merged, and the model is a plain one again.

    Args:
        rank: of the adapter's matrices; None changes nothing, and the weights themselves are trained.
        seed: decides how the adapter begins.
    """
    if rank is None:
        yield
        return
    from peft import LoraConfig, inject_adapter_in_model

    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.manual_seed(seed)
    # Scaling alpha / rank of 2 as in the LoRA paper's language model runs (Hu et al. 2021, table 11).
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    inject_adapter_in_model(config, model, NAME)
    try:
        yield
    finally:
        _merge(model)
        for parameter in trainable:
            parameter.requires_grad_(True)


def _merge(model: PreTrainedModel) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, leaf = name.rpartition(".")
            base = module.get_base_layer()
            assert isinstance(base, nn.Module)
            setattr(model.get_submodule(parent), leaf, base)
    if hasattr(model, "peft_config"):
        del model.peft_config
