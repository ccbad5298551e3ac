"""Save the unlearned model so that forgetting survives the dtype it is saved in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from expunge.core import storage
from expunge.models.assistant import ASSISTANT, BASE, assistant_of, difference_of, write_difference
from expunge.models.beside import NAMES
from expunge.models.fit import quiet
from expunge.models.gate import gate_of
from expunge.models.gate_files import write_gate
from expunge.models.source import LoadedModel, holds_only, load_weights

LICENCES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")
PROCESSORS = (
    "processor_config.json",
    "preprocessor_config.json",
    "image_processor_config.json",
    "video_preprocessor_config.json",
    "feature_extractor_config.json",
    "chat_template.json",
    "chat_template.jinja",
)
"files that `AutoProcessor` and the chat template of a model of text and pictures need"
CONSTANTS = ("inv_freq", "attn.bias", "attention.bias", "masked_bias", "position_ids", "lm_head.weight")
"ends of names of weights in older files that are now made from the configuration or tied"
Lost = Callable[[LoadedModel, torch.dtype], float]
MAX_LOST_SHARE = 0.2
"largest relative error of the update that rounding may cause before the model is saved in float32 instead"


def lost_by_rounding(model: PreTrainedModel, base: PreTrainedModel, dtype: torch.dtype) -> float:
    """Relative error of the update after rounding: |round(w) - w| / |w - w_base|, over all weights together.

    Unlearning moves weights by about 1e-5; if that is less than half a unit in the last place of `dtype`, rounding
    brings the old weight back (compare Zhang et al. 2024, arXiv:2410.16454, for quantisation). 0 if nothing is lost;
    inf if there is an error but no update.

    Args:
        base: the model before it was trained, loaded the same way: whatever the layout of its files (separate experts,
            other names, a narrow format), its weights have the names and shapes that those of `model` have.
    """
    before = dict(base.named_parameters())
    return lost_share(model.named_parameters(), before.get, dtype)


def lost_share(
    weights: Iterable[tuple[str, torch.Tensor]], before: Callable[[str], torch.Tensor | None], dtype: torch.dtype
) -> float:
    """The same for weights by name, one after the other; `before` returns the base's weight by its name."""
    error = update = 0.0
    for name, weight in weights:
        new, old = weight.detach().cpu().float(), before(name)
        if old is None or old.shape != new.shape:
            return float("inf")  # an added weight: unknown, so no risk is taken
        error += (new.to(dtype).float() - new).double().square().sum().item()
        update += (new - old.detach().cpu().float()).double().square().sum().item()
    if error == 0:
        return 0.0
    return float("inf") if update == 0 else (error / update) ** 0.5


def lost_beside_base(loaded: LoadedModel, dtype: torch.dtype) -> float:
    """`lost_by_rounding`, with the base loaded here."""
    if (assistant := assistant_of(loaded.model)) is not None:  # it began as layers of the model itself
        return lost_by_rounding(assistant, loaded.model, dtype)
    if gate_of(loaded.model) is not None:
        return 0.0  # the model's own weights did not change, and adapters are float32
    stored = loaded.stored_dtype
    base = load_weights(loaded.source, stored if holds_only(loaded.source.folder, stored) else torch.float32)
    return lost_by_rounding(loaded.model, base, dtype)


def choose_dtype(loaded: LoadedModel, wanted: str, lost: Lost = lost_beside_base) -> tuple[torch.dtype, str | None]:
    """(type, warning): the type to save in, and sentences if that, or the form, is not the base model's own.

    Args:
        lost: returns the share of the update that rounding to a dtype would undo.
    """
    dtype, warnings = _dtype(loaded, wanted, lost)
    if loaded.narrow is not None:
        name = str(dtype).removeprefix("torch.")
        warnings.append(
            f"the base model is stored as {loaded.narrow}; its weights were widened to be trained, and are saved as {name}"
        )
    unread = [name for name in loaded.unread if not name.endswith(CONSTANTS)]
    if unread:
        warnings.append(
            f"{len(unread)} weights in the base model's files are not part of the transformers model, "
            f"and are not saved: {', '.join(unread[:3])}" + (", ..." if len(unread) > 3 else "")
        )
    return dtype, "; ".join(warnings) or None


def _dtype(loaded: LoadedModel, wanted: str, lost_of: Lost) -> tuple[torch.dtype, list[str]]:
    dtype = loaded.stored_dtype if wanted == "auto" else getattr(torch, wanted)
    if dtype == torch.float32:
        return dtype, []
    lost = lost_of(loaded, dtype)
    if lost <= MAX_LOST_SHARE:
        return dtype, []
    name, known = str(dtype).removeprefix("torch."), lost < float("inf")
    if wanted != "auto":
        share = f"undoes {min(lost, 1):.0%} of" if known else "may undo"
        return dtype, [
            f"saved as {name} (save_dtype): rounding to it {share} the change to the weights; without save_dtype they "
            "are saved in a type that preserves it"
        ]
    share = f"would undo {min(lost, 1):.0%} of" if known else "may undo"
    return torch.float32, [f"saved as float32: rounding to the base model's {name} {share} the change to the weights"]


def _cast(state: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Cast weights to another dtype; tied ones stay one tensor, so that they are stored once."""
    made: dict[tuple[int, torch.Size], torch.Tensor] = {}
    for tensor in state.values():
        place = tensor.data_ptr(), tensor.shape
        if place not in made:
            made[place] = tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype)
    return {name: made[tensor.data_ptr(), tensor.shape] for name, tensor in state.items()}


def save_model(loaded: LoadedModel, folder: Path, dtype: torch.dtype) -> None:
    """Write `folder` whole or not at all: safetensors, config, tokenizer, and, from the base model's files, its licence
    and the processors of pictures, videos and sound.

    For a model with an assistant these are two such
    folders, and `assistant.json`; `dtype` is the assistant's. For one with gated adapters they are such a folder, one
    for each adapter, and `gate.json`.
    """
    if (gate := gate_of(loaded.model)) is not None:
        with storage.folder_aside(folder) as aside:
            _save_alone(loaded, aside / BASE, _lossless(loaded, dtype))
            write_gate(aside, gate)
        return
    if (assistant := assistant_of(loaded.model)) is not None:
        with storage.folder_aside(folder) as aside:
            _save_alone(loaded, aside / BASE, _lossless(loaded, dtype))
            _save_alone(replace(loaded, model=assistant), aside / ASSISTANT, dtype)
            write_difference(aside, difference_of(loaded.model))
        return
    _save_alone(loaded, folder, dtype)


def _lossless(loaded: LoadedModel, dtype: torch.dtype) -> torch.dtype:
    """The first of these dtypes that holds a model's own weights exactly, without assistant or adapters: its own,
    `dtype`, float32."""
    weights = [weight for name, weight in loaded.model.named_parameters() if not name.startswith(NAMES)]

    def holds(kind: torch.dtype) -> bool:
        return all(torch.equal(weight.detach().to(kind).float(), weight.detach().float()) for weight in weights)

    return next((kind for kind in (loaded.stored_dtype, dtype) if holds(kind)), torch.float32)


def _save_alone(loaded: LoadedModel, folder: Path, dtype: torch.dtype) -> None:
    """A model without its assistant or gated adapters."""

    def save(aside: Path, model: PreTrainedModel) -> None:
        state = {name: value for name, value in model.state_dict().items() if not name.startswith(NAMES)}
        model.save_pretrained(aside, state_dict=_cast(state, dtype))

    save_with(loaded, folder, dtype, save)


def save_with(
    loaded: LoadedModel, folder: Path, dtype: torch.dtype, save: Callable[[Path, PreTrainedModel], object]
) -> None:
    """The same, with weights and configuration written by `save`."""
    with storage.folder_aside(folder) as aside:
        model = loaded.model
        before = [(config, config.dtype) for config in _configs(model.config)]
        with quiet():
            try:
                save(aside, model)
                for config, _ in before:  # only now: save_pretrained writes the type of the weights in memory
                    config.dtype = dtype
                model.config.save_pretrained(aside)
            finally:
                for config, own in before:
                    config.dtype = own
        loaded.tokenizer.save_pretrained(aside)
        for name in (*LICENCES, *PROCESSORS):
            if (loaded.source.folder / name).is_file() and not (aside / name).exists():
                shutil.copyfile(loaded.source.folder / name, aside / name)
        _name_no_code(aside)


def _configs(config: Any) -> list[Any]:
    """A configuration and those inside it, for the parts of a model of text and pictures."""
    inner = [value for value in vars(config).values() if isinstance(value, PreTrainedConfig)]
    return [config, *(each for part in inner for each in _configs(part))]


def _name_no_code(folder: Path) -> None:
    """Drop the names of code of the base model's own: transformers' classes were used, and the code is not copied."""
    for name in ("config.json", "tokenizer_config.json", "generation_config.json", *PROCESSORS[:5]):
        path = folder / name
        content = storage.read_json(path) if path.is_file() else {}
        named = {key for key in ("auto_map", "custom_generate") if content.pop(key, None) is not None}
        if named:
            storage.write_json(path, content)
