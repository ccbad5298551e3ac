"""Image classifiers: from a folder or the hub, or new with random weights; saved for `from_pretrained`."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageClassification, PreTrainedModel, ResNetConfig

from expunge.core import storage
from expunge.data.images.class_order import misplaced
from expunge.errors import ModelError, first_line
from expunge.kinds.classifier.task import ImageClassifier
from expunge.models.digest import sharded_folder
from expunge.models.fit import without_bars
from expunge.models.source import ModelSource, locate
from expunge.runs.plugins import reference
from expunge.train.precision import found_device


def _resnet18(width: int) -> dict[str, Any]:
    """Settings of a ResNet-18 whose first stage has this many channels (He et al. 2016: 64)."""
    hidden = [width, 2 * width, 4 * width, 8 * width]
    return {"embedding_size": width, "hidden_sizes": hidden, "depths": [2, 2, 2, 2], "layer_type": "basic"}


NEW = {"resnet18-small": _resnet18(16), "resnet18": _resnet18(64)}
"models trained here from random weights, by name; the small one has 0.7 million weights"


def new_classifier(name: str, classes: Sequence[str], seed: int) -> ImageClassifier:
    """One of `NEW` with random weights that depend on `seed` alone, on the device found."""
    labels = dict(enumerate(classes))
    config = ResNetConfig(
        num_channels=3, id2label=labels, label2id={label: number for number, label in labels.items()}, **NEW[name]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageClassification.from_config(config)
    return ImageClassifier(model.eval().to(found_device()))


def load_classifier(source: ModelSource, classes: Sequence[str], size: int) -> ImageClassifier:
    """A classifier whose classes are those of the data, in their order, and which takes pictures of `size`, on the
    device that is found.

    Raises:
        ModelError: not an image classifier, other classes than the data's, or another picture size.
    """
    model, missing = pretrained(AutoModelForImageClassification, source, "an image classifier", NEW)
    if missing:
        raise ModelError(
            f"{source.name} lacks weights of an image classifier", seen=", ".join(missing[:3]), allowed="a trained one"
        )
    config: Any = model.config
    if config.num_labels != len(classes):
        raise ModelError(
            f"{source.name} has {config.num_labels} classes, the data has {len(classes)}",
            seen=", ".join(map(str, list(config.id2label.values())[:5])),
            allowed=", ".join(classes[:5]) + (" …" if len(classes) > 5 else ""),
            next_step="give the data that the model was trained on, with --images.label naming its column of classes",
        )
    names = class_names(source.folder)
    if names is not None and misplaced(classes, names):
        raise ModelError(
            f"{source.name} has the classes in another order", seen=", ".join(names), allowed=", ".join(classes)
        )
    task = ImageClassifier(model.eval().to(found_device()), *normalisation(source.folder))
    try:
        with torch.no_grad():
            task.logits_of(torch.zeros(1, 3, size, size, dtype=task.dtype, device=task.device))
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"{source.name} does not take colour pictures of {size} x {size} pixels",
            seen=first_line(error),
            allowed=f"{getattr(config, 'num_channels', 3)} channels, image_size {getattr(config, 'image_size', 'any')}",
            next_step="give the size that the model was trained with: --images.size PIXELS",
        ) from error
    return task


def pretrained(kind: Any, source: ModelSource, what: str, new: Collection[str]) -> tuple[Any, list[str]]:
    """(a model of this class of transformers in float32, the names of weights that it lacks).

    Raises `ModelError`, with `what` it should be and the available `new` ones.
    """
    try:
        with without_bars():
            model, info = kind.from_pretrained(
                source.folder,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
    except Exception as error:  # transformers and safetensors raise nearly anything
        raise ModelError(
            f"{source.name} cannot be loaded as {what}",
            seen=first_line(error),
            allowed=f"a folder or hub id that {kind.__name__} reads; new ones: " + ", ".join(new),
        ) from error
    return model, sorted(info["missing_keys"])


def is_sharded(name: str) -> bool:
    """Whether a model's name is that of a folder of shards, or of a run with one."""
    return sharded_folder(name) is not None


def _of_shards(function: str) -> Any:
    """A function of the kind that builds on this one, imported only where a model is sharded."""
    return reference(f"expunge.kinds.sharded_classifier.model:{function}")


def locate_classifier(name: str, revision: str | None = None) -> ModelSource:
    """A classifier by its folder or id: one network, or shards that answer together."""
    return _of_shards("locate_sharded")(name) if is_sharded(name) else locate(name, revision)


def load_any(source: ModelSource, classes: Sequence[str], size: int) -> ImageClassifier:
    """Load what `locate_classifier` found; raises `ModelError` as `load_classifier`."""
    load = _of_shards("load_sharded") if is_sharded(str(source.folder)) else load_classifier
    return load(source, classes, size)


def class_names(folder: Path) -> tuple[str, ...] | None:
    """A saved model's names of its classes, in its order; None if it names none (`LABEL_0`, ...)."""
    found = storage.read_json(folder / "config.json").get("id2label") or {}
    names = tuple(str(found[key]) for key in sorted(found, key=int))
    return None if all(name == f"LABEL_{number}" for number, name in enumerate(names)) else names


def class_count(folder: Path) -> int:
    """Number of classes of a saved model; 2 if its configuration does not say, as in transformers."""
    content = storage.read_json(folder / "config.json")
    return len(content.get("id2label") or {}) or int(content.get("num_labels") or 2)


def normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of each colour channel of a saved model, from its preprocessor; 0.5 each by default."""
    path = folder / "preprocessor_config.json"
    content: dict[str, Any] = {}
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path} is not valid JSON", seen=error) from error
    if content.get("do_normalize") is False:
        return (0.0,) * 3, (1.0,) * 3
    mean, std = content.get("image_mean", [0.5] * 3), content.get("image_std", [0.5] * 3)
    return tuple(map(float, mean)), tuple(map(float, std))


def side(folder: Path) -> int | None:
    """Height and width in pixels of a saved model's input, if its preprocessor or configuration has them."""
    path = folder / "preprocessor_config.json"
    content = storage.read_json(path) if path.is_file() else {}
    cropped = content.get("crop_size") if content.get("do_center_crop") else None
    size = cropped or content.get("size") or storage.read_json(folder / "config.json").get("image_size")
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return int(size) if isinstance(size, int) and size > 0 else None


def save_classifier(task: ImageClassifier, folder: Path, size: int) -> None:
    """Write `folder` whole or not at all: safetensors, config, and a preprocessor with size and normalisation."""
    model = task.model
    assert isinstance(model, PreTrainedModel)
    with storage.folder_aside(folder) as aside:
        with without_bars():
            model.save_pretrained(aside)
        write_preprocessor(aside, size, task.mean, task.std)


def write_preprocessor(folder: Path, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """`preprocessor_config.json`, for transformers' image processors."""
    storage.write_json(
        folder / "preprocessor_config.json",
        {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": size, "width": size},
            "resample": 2,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(mean),
            "image_std": list(std),
        },
    )
