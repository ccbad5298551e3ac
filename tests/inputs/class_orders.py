"""Classifiers whose classes do not say which is which, stand in another order, or were never learnt."""

from __future__ import annotations

import colorsys
import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from case import Case
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification

import expunge
from expunge.errors import DataError, ModelError
from expunge.kinds.classifier.model import load_classifier
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.classifier.story import ClassifierStory, read_sets
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.models.source import locate
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make

SIDE, EACH = 8, 6
NUMBERS = [str(number) for number in range(12)]


def picture(kind: int, kinds: int, seed: int) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8 of a hue of its own for each kind, under a little noise."""
    colour = 255 * np.array(colorsys.hsv_to_rgb(kind / kinds, 0.8, 0.8))
    noise = np.random.default_rng([kind, seed]).normal(0, 4, (SIDE, SIDE, 3))
    return np.clip(colour + noise, 0, 255).astype(np.uint8)


def folders(place: Path, names: Sequence[str], kinds: int = 12) -> Path:
    """`place/NAME/NUMBER.png`: the first name holds pictures of kind 0, the next of kind 1, and so on."""
    for kind, name in enumerate(names):
        (place / name).mkdir(parents=True)
        for number in range(EACH):
            Image.fromarray(picture(kind, kinds, number)).save(place / name / f"{number}.png")
    return place


def table(place: Path, labels: dict[int, str], kinds: int = 12) -> Path:
    """A CSV with `path` and `label`, of pictures of these kinds under these labels."""
    place.mkdir()
    with open(place / "labels.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for kind, label in labels.items():
            for number in range(EACH):
                Image.fromarray(picture(kind, kinds, number)).save(place / f"{kind}-{number}.png")
                rows.writerow([f"{kind}-{number}.png", label])
    return place / "labels.csv"


def model(place: Path, kinds: Sequence[int], names: Sequence[str] | None = None, knows: bool = True) -> Path:
    """A saved classifier whose output i is for pictures of `kinds[i]`; its head is fitted by least squares."""
    torch.manual_seed(0)
    config = ResNetConfig(
        num_channels=3, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic",
        num_labels=len(kinds),
    )  # fmt: skip
    if names is not None:
        config.id2label, config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    net = ResNetForImageClassification(config).eval()
    task = ImageClassifier(net)
    head: Any = net.classifier[-1]
    torch.nn.init.zeros_(head.weight)
    if knows:
        pixels = np.stack([picture(kind, 12, 100 + number) for kind in kinds for number in range(8)])
        seen = Pictures(pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2), labels=torch.zeros(len(pixels)).long())
        features = torch.cat([task.features(seen), torch.ones(len(pixels), 1)], 1).double()
        wanted = torch.eye(len(kinds), dtype=torch.float64).repeat_interleave(8, 0)
        weights = torch.linalg.lstsq(features, wanted, driver="gelsd").solution.float()
        with torch.no_grad():
            head.weight.copy_(weights[:-1].T)
            head.bias.copy_(weights[-1])
    net.save_pretrained(place)
    return place


def recipe(data: Path, base: Path, **more: Any) -> ImageRecipe:
    fields = {"images.size": SIDE, "forget": "random:4", "method": "gradient_ascent"} | more
    return make(ImageRecipe, {"data": str(data), "model": str(base)}, fields)


def accuracy(data: Path, base: Path, **more: Any) -> tuple[float, ImageSets]:
    """Of the base on the retain set as a run reads it."""
    given = recipe(data, base, **more)
    sets = read_sets(given)
    kept = sets.tensors["retain"]
    task = load_classifier(locate(str(base)), sets.classes, sets.size)
    return float((task.outputs(kept).argmax(-1) == kept.labels).float().mean()), sets


def right(classes: Sequence[str] | None = None) -> Callable[[Any], None]:
    def expect(found: tuple[float, ImageSets]) -> None:
        assert found[0] >= 0.95
        if classes is not None:
            assert list(found[1].classes) == list(classes)

    return expect


def text_order() -> list[str]:
    return sorted(NUMBERS)


def shuffled() -> list[int]:
    return np.random.default_rng(5).permutation(12).tolist()


def chance(place: Path, **more: Any) -> Any:
    data, base = folders(place / "data", NUMBERS), model(place / "model", range(12), knows=False)
    given, folder = recipe(data, base, **more), RunFolder(place / "run")
    folder.claim(given.model_dump(mode="json"), given.to_yaml())
    story = ClassifierStory(Run(given, folder))
    story.reread(None)
    story.prepare()
    return folder.read_events("notice")


def told_of_chance(notices: Any) -> None:
    assert any("no better than chance" in row["text"] for row in notices)


def tested_on_two(found: tuple[float, ImageSets]) -> None:
    assert set(found[1].parts["test"].labels.tolist()) == {2, 10}


CASES = [
    Case(
        what="folders 0 to 11, a model without names in numeric order",
        use=lambda place: accuracy(folders(place / "data", NUMBERS), model(place / "model", range(12))),
        expect=right(NUMBERS),
    ),
    Case(
        what="folders 0 to 11, a model without names in the order of folders as text",
        use=lambda place: accuracy(
            folders(place / "data", NUMBERS), model(place / "model", [int(name) for name in text_order()])
        ),
        expect=right(text_order()),
    ),
    Case(
        what="folders 00 to 11, a model that calls its classes 0 to 11",
        use=lambda place: accuracy(
            folders(place / "data", [f"{number:02d}" for number in range(12)]),
            model(place / "model", shuffled(), [str(kind) for kind in shuffled()]),
        ),
        expect=right([f"{kind:02d}" for kind in shuffled()]),
    ),
    Case(
        what="labels 1 to 12 in a table, a model without names",
        use=lambda place: accuracy(
            table(place / "data", {kind: str(kind + 1) for kind in range(12)}), model(place / "model", range(12))
        ),
        expect=right([str(number) for number in range(1, 13)]),
    ),
    Case(
        what="labels with gaps, a model of all of them without names",
        use=lambda place: accuracy(
            table(place / "data", {kind: str(kind) for kind in (0, 2, 5, 11)}), model(place / "model", range(12))
        ),
        expect=right(NUMBERS),
    ),
    Case(
        what="labels with gaps, a model that names its classes in words",
        use=lambda place: accuracy(
            table(place / "data", {kind: str(kind) for kind in (0, 2, 3)}),
            model(place / "model", range(4), ("ant", "bee", "cat", "dog")),
        ),
        expect=right(["0", "bee", "2", "3"]),
    ),
    Case(
        what="labels beyond the model's classes",
        use=lambda place: expunge.run(
            recipe(table(place / "data", {0: "0", 1: "1", 2: "2", 7: "7"}), model(place / "model", range(3))),
            place / "run",
        ),
        refused=ModelError,
        says=("3 classes", "the data has 4"),
    ),
    Case(
        what="names in another order and in capitals",
        use=lambda place: accuracy(
            folders(place / "data", ("ant", "bee queen", "cat", "dog")),
            model(place / "model", (3, 2, 1, 0), ("Dog", "CAT", "Bee_Queen", "Ant")),
        ),
        expect=right(("dog", "cat", "bee queen", "ant")),
    ),
    Case(
        what="a class that the model does not name",
        use=lambda place: accuracy(
            folders(place / "data", ("ant", "bee", "cot", "dog")),
            model(place / "model", range(4), ("ant", "bee", "cat", "dog")),
        ),
        refused=DataError,
        says=("'cot'", "did you mean 'cat'?"),
    ),
    Case(
        what="words in the folders, a model without names in an order of its own",
        use=lambda place: expunge.run(
            recipe(folders(place / "data", "abcdefghijkl"), model(place / "model", shuffled())), place / "run"
        ),
        refused=ModelError,
        says=("has its classes in another order than the data", "id2label", "in this order, 1.000"),
    ),
    Case(
        what="names in the configuration that are wrong",
        use=lambda place: expunge.run(
            recipe(folders(place / "data", "abcd"), model(place / "model", (1, 2, 3, 0), "abcd")), place / "run"
        ),
        refused=ModelError,
        says=("has its classes in another order than the data",),
    ),
    Case(
        what="a base that never learnt its classes",
        use=chance,
        refused=ModelError,
        says=("no better than chance", "--allow_chance_base true"),
    ),
    Case(
        what="a base that never learnt its classes, with a word from the user",
        use=lambda place: chance(place, allow_chance_base=True),
        expect=told_of_chance,
    ),
    Case(
        what="test pictures of some of the classes only",
        use=lambda place: accuracy(
            folders(place / "data", NUMBERS),
            model(place / "model", range(12)),
            test_data=str(table(place / "held", {kind: str(kind) for kind in (10, 2)})),
        ),
        expect=tested_on_two,
    ),
]
