"""A network's outputs on originals and completions, as stages; the network itself is trained if none is named."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from expunge.core.order import random_seed
from expunge.errors import DataError
from expunge.kinds.classifier.measures.classification import accuracy
from expunge.kinds.classifier.model import NEW as NEW_CLASSIFIERS
from expunge.kinds.classifier.model import class_names, new_classifier, save_classifier
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.classifier.training import fit
from expunge.kinds.generator.corruption import GREY, Corruption, pixels_of
from expunge.kinds.generator.feature_network import FeatureNetwork, load_network, perceptual_distances, resized
from expunge.kinds.generator.measures.scores import SPLITS, Completions, Originals, Seen
from expunge.kinds.generator.model import load_generator
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.session import evaluation_keys
from expunge.kinds.generator.sets import GeneratorSets
from expunge.kinds.generator.task import ImageToImage
from expunge.models.source import ModelSource, locate
from expunge.runs.artifacts import fitted, on_progress
from expunge.runs.context import Run
from expunge.train.clipped import clipped_step
from expunge.train.phase import Phase

COMPARED = 32
"pictures compared at once, of which every layer is kept meanwhile"
TIMED = 64
"pictures whose way through the network is timed"


def only_drawn(pixels: Tensor, hidden: Tensor, patch: int) -> Tensor:
    """uint8 pictures with everything greyed that a model was shown; as they are where nothing was hidden."""
    if not bool(hidden.any()):
        return pixels
    return torch.where(pixels_of(hidden, pixels.shape[-1], patch), pixels, round(255 * GREY))


def drawn_pixels(hidden: Tensor, side: int, patch: int) -> np.ndarray:
    """(n, side * side) bool: the pixels that a model draws; all of them where nothing is hidden."""
    if not bool(hidden.any()):
        return np.ones((len(hidden), side * side), dtype=bool)
    return np.asarray(pixels_of(hidden, side, patch).flatten(1).numpy())


def seen(network: FeatureNetwork, pixels: Tensor, hidden: Tensor, patch: int) -> Seen:
    """The network's outputs on pictures, whole and with only the drawn parts left."""
    features, probabilities = network.measure(pixels)
    none = np.empty((len(pixels), 0), np.float32)
    if probabilities is None:
        return Seen(features.numpy(), none, none)
    drawn = network.measure(only_drawn(pixels, hidden, patch))[1]
    assert drawn is not None
    return Seen(features.numpy(), probabilities.numpy(), drawn.numpy())


def perceptual(network: FeatureNetwork, ours: Tensor, theirs: Tensor) -> np.ndarray | None:
    """(n,) perceptual distances of uint8 pictures from others; None of a network that hands out no layers."""
    found = []
    for rows in torch.arange(len(ours)).split(COMPARED):
        one, other = network.layers(ours[rows]), network.layers(theirs[rows])
        if one is None or other is None:
            return None
        found.append(perceptual_distances(one, other).cpu())
    return torch.cat(found).double().numpy()


@dataclass(frozen=True, slots=True)
class Judge:
    """What the generators of a run are measured with: pictures, their corruption, and a network that looks at them.

    Attributes:
        about: what there is to say of the network: its name, digest, and accuracies where it knows the classes.
    """

    run: Run[GeneratorRecipe]
    sets: GeneratorSets
    corruption: Corruption
    network: FeatureNetwork
    about: Mapping[str, Any]

    def load(self, source: ModelSource) -> ImageToImage:
        return load_generator(source, self.sets.size, self.corruption)

    def count(self, split: str) -> int:
        """How many pictures of a split are measured."""
        return min(self.run.recipe.evaluation.pictures, len(self.sets.tensors[split]))

    def measured(self, split: str) -> Pictures:
        """The pictures of a split that are measured."""
        return self.sets.tensors[split].take(torch.arange(self.count(split)))

    def keys(self, split: str) -> Tensor:
        """(n,) keys of the corruptions under which a split is measured."""
        return evaluation_keys(self.run.recipe.seed, split, self.count(split))

    def completed(self, task: ImageToImage, split: str) -> Completions:
        """What a model draws of a split, and the network's outputs on it; without distances."""
        keys = self.keys(split)
        pictures = task.completions(self.measured(split), keys)
        hidden = self.corruption.hidden(keys, self.sets.size)
        return Completions(pictures.numpy(), seen(self.network, pictures, hidden, self.corruption.patch))

    @property
    def group(self) -> np.ndarray | None:
        """`GeneratorParts.forgotten_group`, where the network knows the classes."""
        return self.sets.forgotten_group() if "accuracy" in self.about else None

    def originals(self) -> dict[str, Originals]:
        """The measured pictures of every split, and the network's outputs on them."""
        identity, patch = self.sets.identity, self.corruption.patch
        found: dict[str, Originals] = {}
        for split in SPLITS:
            pictures = self.measured(split)
            if not len(pictures):
                continue
            hidden = self.corruption.hidden(self.keys(split), self.sets.size)
            people = None
            if identity is not None:
                people = np.asarray(self.sets.parts[split].columns[identity][: len(pictures)]).astype(str)
            found[split] = Originals(
                pictures=pictures.pixels.numpy(),
                drawn=drawn_pixels(hidden, self.sets.size, patch),
                seen=seen(self.network, pictures.pixels, hidden, patch),
                labels=pictures.labels.numpy() if "accuracy" in self.about else None,
                people=people,
            )
        return found


def make_judge(run: Run[GeneratorRecipe], sets: GeneratorSets, corruption: Corruption) -> Judge:
    """The judge with the network that the recipe names, or with one that is trained on the run's pictures; cached.

    Raises `DataError` if one is to be trained, and the pictures have no classes.
    """
    source, network, known = found_network(run, sets, corruption)
    about = {"name": network.name, "digest": source.digest, "trained_here": is_trained_here(run.recipe)}
    accuracies = _accuracies(network, run.recipe, sets, corruption) if known else {}
    return Judge(run, sets, corruption, network, about | accuracies)


def is_trained_here(recipe: GeneratorRecipe) -> bool:
    """Whether the network that measures is trained on the pictures of the run."""
    return recipe.network.model in NEW_CLASSIFIERS


def found_network(
    run: Run[GeneratorRecipe], sets: GeneratorSets, corruption: Corruption
) -> tuple[ModelSource, FeatureNetwork, bool]:
    """(where it lies, the network that the recipe names or one that is trained here, whether it names the run's classes)."""
    named, classes = run.recipe.network.model, sets.classes or ()
    if is_trained_here(run.recipe):
        refuse_unclassed(run.recipe, sets)
        source = _trained(run, sets, corruption)
        return source, load_network(source, f"{named}, trained on these pictures"), True
    source = locate(named)
    network, names = load_network(source), class_names(source.folder)
    known = network.classifies and (names == classes if names else network.class_count == len(classes))
    return source, network, known


def to_train(run: Run[GeneratorRecipe], sets: GeneratorSets, corruption: Corruption) -> float:
    """Pictures that run forward and back until the network is there; 0 if it is, or none is trained here."""
    if not is_trained_here(run.recipe):
        return 0.0
    if (run.cache_path("fitted-network", _made_from(run, sets, corruption)) / "stage.json").is_file():
        return 0.0
    pictures = len(sets.tensors["retain"]) + len(sets.tensors["forget"])
    return run.recipe.network.num_train_epochs * pictures * (2 if corruption.hides else 1)


def training_rate(recipe: GeneratorRecipe, sets: GeneratorSets) -> float:
    """Seconds that one of them takes here: the second of two steps of such a network, of which nothing is kept."""
    settings, some = recipe.network, sets.tensors["retain"]
    some = some.take(torch.arange(min(_phase(recipe).batch_size, len(some))))
    some = Pictures(pixels=_bytes(some.pixels, settings.size), labels=some.labels)
    task = new_classifier(settings.model, sets.classes or (), 0)
    task.model.train()
    optimizer = torch.optim.Adam(task.model.parameters(), lr=settings.learning_rate)
    took = 0.0
    for _ in range(2):
        start = time.monotonic()
        batch = task.batch(some, torch.arange(len(some)))
        clipped_step(F.cross_entropy(task.logits_of(batch.pixels), batch.labels), optimizer)
        took = time.monotonic() - start
    return took / len(some)


def judging_rate(recipe: GeneratorRecipe, sets: GeneratorSets, network: FeatureNetwork | None) -> float:
    """Seconds that a picture takes here that such a network only looks at.

    Args:
        network: the one that is there; None: one like it, which is still to be trained.
    """
    some = sets.tensors["retain"].pixels[:TIMED]
    if network is None:
        settings = recipe.network
        model = new_classifier(settings.model, sets.classes or (), 0).model.eval()
        network = FeatureNetwork("", model, settings.size, (0.0,) * 3, (1.0,) * 3, classifies=True)
    network.measure(some[:8])  # what is done once is none of the rate
    start = time.monotonic()
    network.measure(some)
    return (time.monotonic() - start) / len(some)


def _phase(recipe: GeneratorRecipe) -> Phase:
    """How it is trained."""
    return Phase(
        name="network",
        epochs=recipe.network.num_train_epochs,
        learning_rate=recipe.network.learning_rate,
        optimizer="adam",
        schedule="cosine",
    )


def _made_from(run: Run[GeneratorRecipe], sets: GeneratorSets, corruption: Corruption) -> dict[str, Any]:
    """What decides what a network becomes that is trained here."""
    return {
        "network": run.recipe.network.model_dump(),
        "sets": {name: digest for name, digest in sets.digests().items() if name != "proxy set"},
        "classes": list(sets.classes or ()),
        "corruption": corruption.key,
        "seed": run.recipe.seed,
    }


def _trained(run: Run[GeneratorRecipe], sets: GeneratorSets, corruption: Corruption) -> ModelSource:
    """A classifier of the run's pictures, trained from random weights."""
    settings, classes = run.recipe.network, sets.classes or ()

    def make(path: Path, checkpoints: Path) -> dict[str, Any]:
        run.show.stage("training the network that measures")
        seed = random_seed(run.recipe.seed, "network") % (1 << 31)
        together = sets.tensors["retain"].joined(sets.tensors["forget"])
        pictures = _twice(together, evaluation_keys(seed, "network", len(together)), corruption, settings.size)
        task = new_classifier(settings.model, classes, seed)
        work = Work(
            task=task,
            retain=pictures,
            forget=pictures,
            classes=len(classes),
            seed=seed,
            checkpoints=checkpoints,
            save_seconds=run.recipe.save_seconds,
            on_progress=on_progress(run.show),
        )
        fit(work, _phase(run.recipe))
        save_classifier(task, path / "model", settings.size)
        return {"passes": work.cost.passes, "seconds": work.cost.seconds}

    return fitted(run, "network", _made_from(run, sets, corruption), make).source


def refuse_unclassed(recipe: GeneratorRecipe, sets: GeneratorSets) -> None:
    """Raise if a network is to be trained here, and the pictures have no classes that it could learn."""
    if is_trained_here(recipe) and sets.classes is None:
        raise DataError(
            f"the pictures of {recipe.data} have no classes, and a network that measures pictures learns them",
            next_step="name a column: --images.label COLUMN; or give a network: --network.model FOLDER",
        )


def _twice(pictures: Pictures, keys: Tensor, corruption: Corruption, size: int) -> Pictures:
    """Pictures at the network's size, whole and, where patches are hidden, once more with only those left."""
    whole, drawn = [], []
    for rows in torch.arange(len(pictures)).split(1024):
        pixels = pictures.pixels[rows]
        whole.append(_bytes(pixels, size))
        if corruption.hides:
            hidden = corruption.hidden(keys[rows], pixels.shape[-1])
            drawn.append(_bytes(only_drawn(pixels, hidden, corruption.patch), size))
    return Pictures(
        pixels=torch.cat(whole + drawn), labels=pictures.labels.repeat(2) if corruption.hides else pictures.labels
    )


def _bytes(pixels: Tensor, size: int) -> Tensor:
    return (resized(pixels.float() / 255, size) * 255).round().to(torch.uint8)


def _accuracies(
    network: FeatureNetwork, recipe: GeneratorRecipe, sets: GeneratorSets, corruption: Corruption
) -> dict[str, Any]:
    """How well the network names held-back pictures, whole and with only the drawn parts left."""
    held = sets.tensors["retain_test"]
    if len(sets.tensors["forget_test"]):
        held = held.joined(sets.tensors["forget_test"])
    hidden = corruption.hidden(evaluation_keys(recipe.seed, "network", len(held)), held.pixels.shape[-1])
    said = seen(network, held.pixels, hidden, corruption.patch)
    labels = held.labels.numpy()
    found = {}
    for name, probabilities in (("accuracy", said.probabilities), ("accuracy_of_drawn_parts", said.drawn)):
        estimate = accuracy(probabilities.argmax(1), labels)
        found[name] = {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": len(labels)}
    return found
