"""Saving the unlearned model so that the forgetting survives the type it is saved in."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel
from transformers.utils import logging

from expunge import storage
from expunge.models.source import LoadedModel

MAX_LOST_SHARE = 0.2
"largest relative error of the update that rounding may cause before the model is saved in float32 instead"


def lost_by_rounding(model: PreTrainedModel, base_folder: Path, dtype: torch.dtype) -> float:
    """Relative error of the update after rounding: |round(w) - w| / |w - w_base|, over all weights together.

    Unlearning moves weights by about 1e-5; where that is less than half a unit in the last place of `dtype`, rounding
    brings the old weight back (compare Zhang et al. 2024, arXiv:2410.16454, for quantisation). 0 where nothing is lost;
    inf where there is an error but no update.
    """
    error = update = 0.0
    compared = 0
    weights = dict(model.named_parameters())
    for file in sorted(base_folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - safe_open is no mapping
                weight = weights.get(name)
                if weight is None:
                    continue
                compared += weight.numel()
                new = weight.detach().cpu().float()
                error += (new.to(dtype).float() - new).double().square().sum().item()
                update += (new - stored.get_tensor(name).float()).double().square().sum().item()
    if compared < 0.9 * sum(weight.numel() for weight in weights.values()):
        return float("inf")  # other names in the file than in the model: nothing is known, so nothing is risked
    if error == 0:
        return 0.0
    return float("inf") if update == 0 else (error / update) ** 0.5


def choose_dtype(loaded: LoadedModel, wanted: str) -> tuple[torch.dtype, str | None]:
    """(type, warning): the type to save in, and a sentence where that is not the base model's own."""
    if wanted != "auto":
        return getattr(torch, wanted), None
    stored = loaded.stored_dtype
    if stored == torch.float32:
        return stored, None
    lost = lost_by_rounding(loaded.model, loaded.source.folder, stored)
    if lost <= MAX_LOST_SHARE:
        return stored, None
    name = str(stored).removeprefix("torch.")
    return torch.float32, (
        f"saved as float32: rounding to the base model's {name} would undo {min(lost, 1):.0%} of the change to the weights"
    )


def _cast(state: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Weights in another type; tied ones stay one tensor, so that they are stored once."""
    made: dict[tuple[int, torch.Size], torch.Tensor] = {}
    for tensor in state.values():
        place = tensor.data_ptr(), tensor.shape
        if place not in made:
            made[place] = tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype)
    return {name: made[tensor.data_ptr(), tensor.shape] for name, tensor in state.items()}


def save_model(loaded: LoadedModel, folder: Path, dtype: torch.dtype) -> None:
    """Write `folder` whole or not at all: safetensors, config, tokenizer, and the base model's licence file."""
    with storage.folder_aside(folder) as aside:
        model = loaded.model
        before = model.config.dtype
        logging.disable_progress_bar()
        try:
            model.save_pretrained(aside, state_dict=_cast(model.state_dict(), dtype))
            model.config.dtype = dtype  # only now: save_pretrained writes the type of the weights in memory
            model.config.save_pretrained(aside)
        finally:
            model.config.dtype = before
            logging.enable_progress_bar()
        loaded.tokenizer.save_pretrained(aside)
        _name_no_code(aside)
        for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE"):
            if (loaded.source.folder / name).is_file():
                shutil.copyfile(loaded.source.folder / name, aside / name)


def _name_no_code(folder: Path) -> None:
    """Drop the names of code of the base model's own: transformers' classes were used, and the code is not copied."""
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        path = folder / name
        content = storage.read_json(path) if path.is_file() else {}
        named = {key for key in ("auto_map", "custom_generate") if content.pop(key, None) is not None}
        if named:
            storage.write_json(path, content)
