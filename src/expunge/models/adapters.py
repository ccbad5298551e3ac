"""Adapters of peft as files: a folder with `adapter_config.json` and weights is read as its base with the adapter
merged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from expunge.errors import ModelError, first_line
from expunge.models.fit import quiet
from expunge.models.unusable import ADAPTER, read_adapter

WEIGHTS = "adapter_model.safetensors"
MERGED = ("LORA",)
"kinds of peft adapters that can be merged into the weights"


def base_named(folder: Path) -> str:
    """The name of the base model of an adapter that can be merged into it.

    Raises:
        ModelError: its weights are not safetensors, it names no base, or its kind cannot be merged.
    """
    config: dict[str, Any] = read_adapter(folder)
    kind, base = config.get("peft_type"), config.get("base_model_name_or_path")
    if kind not in MERGED:
        raise ModelError(
            f"{folder} has an adapter of a kind that cannot be merged into its base",
            seen=f"peft_type: {kind}",
            allowed=", ".join(MERGED),
        )
    if not (folder / WEIGHTS).is_file():
        raise ModelError(
            f"{folder} has no {WEIGHTS}",
            seen=", ".join(sorted(file.name for file in folder.iterdir())[:6]),
            allowed="weights as safetensors; pickle can run code when it is loaded",
            next_step="save it again with peft: model.save_pretrained(FOLDER)",
        )
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"{folder / ADAPTER} names no base model",
            next_step="write its folder or Hugging Face id into base_model_name_or_path",
        )
    return base


def no_base(folder: Path, base: str, error: ModelError) -> ModelError:
    """The error for an adapter whose base cannot be used."""
    return ModelError(
        f"the base model of the adapter in {folder} cannot be used",
        seen=f"base_model_name_or_path: {base}; {error.what}",
        next_step=f"get that model, or write where it is into base_model_name_or_path of {folder / ADAPTER}",
    )


def merged(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The model with an adapter added to its weights, in float32: W + scale B A, in the same model.

    Raises:
        ModelError: the adapter does not fit.
    """
    from peft import PeftModel

    model.float()
    try:
        with quiet(), torch.no_grad():
            adapted = PeftModel.from_pretrained(model, str(folder), torch_device="cpu", use_safetensors=True)
            found: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"the adapter in {folder} does not fit {type(model).__name__}",
            seen=first_line(error),
            allowed="an adapter that was trained on this base",
        ) from error
    if hasattr(found, "peft_config"):
        del found.peft_config
    return found
