"""The transformers class that loads a language model, by its `config.json`; and the reason if none does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig
from transformers.models.auto import modeling_auto

from expunge.core import storage
from expunge.errors import ModelError, first_line
from expunge.models.quantised import check_quantised

HEADS = {
    "ForSequenceClassification": "it sorts texts into classes",
    "ForTokenClassification": "it sorts the words of a text into classes",
    "ForQuestionAnswering": "it marks answers in a text",
    "ForMultipleChoice": "it chooses among answers",
    "ForMaskedLM": "it fills gaps, and sees the text on both sides of them",
    "ForImageClassification": "it sorts pictures into classes",
    "ForBlockDiffusion": "it draws whole blocks of text at once",
    "RewardModel": "it rates answers",
    "ForReward": "it rates answers",
}
"what a model of this class does"
MODES = {
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForImageTextToText": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "AutoModelForMultimodalLM": "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
}
"classes that load a model that continues text: text only, with pictures, with sound -> transformers' lists of them"


@dataclass(frozen=True, slots=True)
class LanguageKind:
    """How a language model is loaded."""

    auto: str
    "the name of the Auto class that loads it, and the part of it that is saved"
    config: Any
    "its configuration; for weights in a narrow format set to widen them"
    narrow: str | None = None
    "that format's name, if the weights are stored in one"

    @property
    def loader(self) -> Any:
        """That class."""
        return getattr(transformers, self.auto)

    def load(self, folder: Path, dtype: torch.dtype, **more: Any) -> tuple[Any, dict[str, Any]]:
        """(the model, what transformers found while it loaded it: `fit.check_info` judges that)."""
        model, info = self.loader.from_pretrained(
            folder,
            config=self.config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **more,
        )
        return model, info


def read_config(folder: Path) -> dict[str, Any]:
    """The content of `config.json`.

    Raises:
        ModelError: it is not a JSON object. StorageError: it may not be read.
    """
    file = folder / "config.json"
    try:
        with storage.reading(file):
            raw = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(
            f"{file} is not valid JSON", seen=error, next_step="copy it once more from the original model"
        ) from error
    if not isinstance(raw, dict):
        raise ModelError(f"{file} is not a configuration", seen=raw, allowed="a JSON object")
    return raw


def language_kind(folder: Path, name: str) -> LanguageKind:
    """How the language model in a folder is loaded; `name` is the user's name for it; no weight is read.

    Raises:
        ModelError: it is not a model that continues a text, is stored quantised, or needs code of its own.
    """
    raw = read_config(folder)
    narrow = check_quantised(folder, name, raw)
    architecture = str(next(iter(raw.get("architectures") or []), ""))
    if "_class_name" in raw and "model_type" not in raw:
        raise _other(name, str(raw["_class_name"]), "it is a model of diffusers, which makes pictures")
    if "model_type" not in raw:
        raise ModelError(
            f"the configuration of {name} does not say what kind of model it is",
            seen="config.json without model_type",
            next_step="copy config.json once more from the original model",
        )
    # The architecture's name comes first: a kind that needs code of its own would not be known otherwise.
    for ending, does in HEADS.items():
        if architecture.endswith(ending):
            raise _other(name, architecture, does, _ORIGINAL if ending != "ForMaskedLM" else None)
    config = _configuration(folder, name, raw)
    kind = str(raw["model_type"])
    if getattr(config, "is_encoder_decoder", False) or kind.endswith("encoder-decoder"):
        raise _other(name, architecture or kind, "it has an encoder that reads and a decoder that answers")
    masked = _names("MODEL_FOR_MASKED_LM_MAPPING_NAMES", kind)
    if masked and not (raw.get("is_decoder") or raw.get("causal")):  # some kinds can be either
        raise _other(name, architecture or kind, "it is an encoder, which sees the text on both sides of a word")
    auto = _auto(kind, architecture)
    if auto is None:
        raise _other(name, architecture or kind, "transformers has no class that continues a text with it")
    return LanguageKind(auto, config, narrow)


_ORIGINAL = "give the language model that it was made from"


def _other(name: str, seen: str, does: str, step: str | None = None) -> ModelError:
    return ModelError(
        f"{name} is not a causal language model: {does}",
        seen=seen,
        allowed="a decoder that predicts the next token (…ForCausalLM), or one that reads pictures, too",
        next_step=step or "give another model; picture classifiers and generators have their own recipes (docs)",
    )


def _configuration(folder: Path, name: str, raw: dict[str, Any]) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        if "auto_map" in raw or "trust_remote_code" in str(error):
            raise ModelError(
                f"{name} is of a kind that the installed transformers does not know without running its own code",
                seen=raw["model_type"],
                allowed=f"a kind that transformers {transformers.__version__} supports",
                next_step="upgrade transformers; code that comes with a model is never run",
            ) from error
        if raw["model_type"] not in transformers.CONFIG_MAPPING:
            raise ModelError(
                f"{name} is of a kind that transformers {transformers.__version__} does not know",
                seen=raw["model_type"],
                next_step="upgrade transformers, if a later version knows it",
            ) from error
        raise ModelError(
            f"the configuration of {name} does not fit its kind, {raw['model_type']}",
            seen=first_line(error),
            next_step="copy config.json once more from the original model",
        ) from error
    quantised = getattr(config, "quantization_config", None)
    if isinstance(quantised, dict):
        quantised["dequantize"] = True
    return config


def _names(mapping: str, kind: str) -> tuple[str, ...]:
    found = getattr(modeling_auto, mapping, {}).get(kind, ())
    return (found,) if isinstance(found, str) else tuple(found)


def _auto(kind: str, architecture: str) -> str | None:
    """The class to load with: the one that the configuration names, else the first that knows the kind.

    A model of text and pictures is loaded whole, even if its text part has its own class.
    """
    known = {auto: _names(mapping, kind) for auto, mapping in MODES.items()}
    if named := next((auto for auto, names in known.items() if architecture in names), None):
        return named
    whole = re.search(r"ForConditionalGeneration|ForVision2Text|ForVisionText2Text", architecture)
    alone, *with_more = MODES
    order = [*with_more, alone] if whole else MODES
    return next((auto for auto in order if known[auto]), None)
