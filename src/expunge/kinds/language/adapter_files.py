"""Save an adapter by itself in peft's format: `PeftModel.from_pretrained` and vLLM load it on its base."""

from __future__ import annotations

import copy
from pathlib import Path

from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from expunge.core import storage
from expunge.kinds.language.lora import Targets
from expunge.kinds.language.task import CausalLM
from expunge.models.adapters import WEIGHTS
from expunge.models.source import ModelSource


def save_adapter(task: CausalLM, name: str, added: Targets, base: ModelSource, folder: Path) -> None:
    """Write the adapter `name` of a model, with its tokenizer, whole or not at all.

    Args:
        added: where it was added.
        base: the model that it belongs to; the adapter names its Hugging Face id, or else its folder.
    """
    from peft import get_peft_model_state_dict  # takes seconds to import, with bitsandbytes

    config = copy.copy(task.model.peft_config[name])
    config.base_model_name_or_path = base.hub_id or str(base.folder.resolve())
    config.task_type, config.inference_mode = "CAUSAL_LM", True
    config.target_modules = _short(task.model, added.modules)
    state = get_peft_model_state_dict(task.model, adapter_name=name)
    with storage.folder_aside(folder) as aside:
        config.save_pretrained(str(aside))
        # The name that a PeftModel gives the model inside it.
        values = {f"base_model.model.{key}": value.detach().cpu().contiguous() for key, value in state.items()}
        save_file(values, aside / WEIGHTS, metadata={"format": "pt"})
        task.tokenizer.save_pretrained(aside)


def _short(model: PreTrainedModel, modules: tuple[str, ...]) -> list[str]:
    """Last parts of the names of modules if no other module has them; else their whole names."""
    plain = {name.replace(".base_layer", "") for name, module in model.named_modules() if isinstance(module, nn.Module)}
    last = {name.rpartition(".")[2] for name in modules}
    others = {name for name in plain if name.rpartition(".")[2] in last} - set(modules)
    return sorted(last) if not others else sorted(modules)
