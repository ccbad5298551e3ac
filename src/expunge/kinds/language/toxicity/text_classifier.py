"""Any Hugging Face text classifier as a scorer of toxicity. Safetensors only; no remote code.

The pipeline of Transformers gives the same scores, but draws from torch's generator at every call, and turns off the
parallel tokenizers of the whole process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from expunge.errors import ModelError, RecipeError, first_line
from expunge.models.source import locate
from expunge.train.precision import found_device

TOXIC = ("toxic", "toxicity", "hate", "hateful", "hap", "offensive", "hate_speech", "label_1", "1")
"classifiers' names of the toxic label, likeliest first; label 1 of two without names is the positive one"
BATCH = 32
LENGTH = 512
"tokens read of a text if the model gives no limit"


def load_classifier(name: str) -> tuple[str, Callable[[Sequence[str]], np.ndarray]]:
    """(digest, function of n texts to (n,) probabilities of the toxic label) of a classifier by folder or hub id.

    Labels can hold at once (sigmoid) if the model's configuration says so or has one label
    only, else they exclude each other (softmax).

    Raises:
        ModelError: it cannot be found or loaded. RecipeError: it is not clear which label is the toxic one.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from expunge.models.fit import without_bars

    place, _, label = name.partition("#")
    source = locate(place)
    try:
        with without_bars():
            tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
            model, info = AutoModelForSequenceClassification.from_pretrained(
                source.folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:  # of whatever kind
        raise ModelError(
            f"cannot load {place} as a text classifier",
            seen=first_line(error),
            allowed="a model for sequence classification, with its tokenizer",
        ) from error
    if info["missing_keys"]:
        raise ModelError(
            f"{place} is not a trained text classifier: weights are missing and would be random",
            seen=", ".join(sorted(info["missing_keys"])[:3]),
            next_step="name a model that was trained to classify texts",
        )
    index = toxic_label(place, model.config.id2label, label)
    several = model.config.num_labels == 1 or model.config.problem_type == "multi_label_classification"
    model.eval().to(found_device())
    positions = getattr(model.config, "max_position_embeddings", LENGTH) or LENGTH
    length = min(tokenizer.model_max_length, positions, LENGTH)

    @torch.inference_mode()
    def probabilities(texts: Sequence[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = np.empty(len(texts))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = tokenizer(
                [texts[i] for i in chosen], padding=True, truncation=True, max_length=length, return_tensors="pt"
            ).to(model.device)
            logits = model(**batch).logits.float()
            found[chosen] = (logits.sigmoid() if several else logits.softmax(-1))[:, index].cpu().numpy()
        return found

    return f"{source.digest}#{index}", probabilities


def toxic_label(place: str, labels: dict[Any, str], wanted: str = "") -> int:
    """The index of the toxic label: the one that is `wanted`, else the first of `TOXIC` that it has."""
    names = {label.lower().replace("-", "_"): int(index) for index, label in labels.items()}
    asked = wanted.lower().replace("-", "_")
    if asked and asked in names:
        return names[asked]
    if wanted:
        raise RecipeError(
            f"{place} has no label {wanted}", allowed=", ".join(labels.values()), next_step="choose one of them"
        )
    if len(names) == 1:
        return 0
    for known in TOXIC:
        if known in names and (len(names) == 2 or known not in ("label_1", "1")):
            return names[known]
    raise RecipeError(
        f"it is not clear which label of {place} means toxic",
        seen=", ".join(labels.values()),
        next_step=f"name it: --scorer '{place}#LABEL'",
    )
