"""The pictures of a run: read, parted, and as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from expunge.data.images.image_set import ImageSet
from expunge.data.images.reading import read_images
from expunge.data.images.selection import Split, split
from expunge.errors import DataError
from expunge.image_recipe import ImageRecipe
from expunge.tasks.image_classifier import Pictures


@dataclass(frozen=True, slots=True, eq=False)
class ImageSets:
    """The four parts of the data, as arrays with their ids and as tensors."""

    parts: dict[str, ImageSet]
    tensors: dict[str, Pictures]
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def digests(self) -> dict[str, str]:
        return {f"{name} set": part.digest() for name, part in self.parts.items()}

    def sizes(self) -> dict[str, dict[str, int]]:
        return {
            name: {"pictures": len(part), "classes": len(set(part.labels.tolist()))}
            for name, part in self.parts.items()
        }


def tensors(images: ImageSet) -> Pictures:
    """Pixels as (n, 3, height, width)."""
    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images.pixels, 3, 1)))
    return Pictures(pixels=pixels, labels=torch.from_numpy(np.array(images.labels)))


def read_image_sets(recipe: ImageRecipe, size: int) -> ImageSets:
    """Read and part the pictures that the recipe names.

    Raises:
        DataError: as `read_images` and `split` have it; test data with other classes than the training data.
    """
    settings = recipe.images
    images = read_images(
        recipe.data,
        size=size,
        label=settings.label,
        limit=settings.limit,
        bins=settings.bins,
        skip_unreadable=settings.skip_unreadable,
    )
    apart = recipe.test_data is not None
    parts: Split = split(
        images,
        recipe.forget,
        validation=settings.validation,
        test=0.0 if apart else settings.test,
        seed=recipe.seed,
        only_train=settings.only_train,
    )
    named = {"retain": parts.retain, "forget": parts.forget, "validation": parts.validation, "test": parts.test}
    notes = [*images.notes, *parts.notes]
    if recipe.test_data is not None:
        test = read_images(
            recipe.test_data,
            size=size,
            label=settings.label,
            bins=settings.bins,
            skip_unreadable=settings.skip_unreadable,
        )
        if test.classes != images.classes:
            raise DataError(
                f"the test pictures {recipe.test_data} have other classes than {recipe.data}",
                seen=", ".join(test.classes),
                allowed=", ".join(images.classes),
            )
        named["test"] = test
        notes += test.notes
    return ImageSets(named, {name: tensors(part) for name, part in named.items()}, images.classes, tuple(notes))
