"""The pictures of a run as tensors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from expunge.data.image_parts import ImageParts, read_image_parts
from expunge.data.images.image_set import ImageSet
from expunge.image_recipe import ImageRecipe
from expunge.tasks.image_classifier import Pictures


@dataclass(frozen=True, slots=True, eq=False)
class ImageSets(ImageParts):
    """The four parts of the data, as arrays with their ids and as tensors."""

    tensors: dict[str, Pictures]


def tensors(images: ImageSet) -> Pictures:
    """Pixels as (n, 3, height, width)."""
    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images.pixels, 3, 1)))
    return Pictures(pixels=pixels, labels=torch.from_numpy(np.array(images.labels)))


def read_image_sets(
    recipe: ImageRecipe, size: int, names: Sequence[str] | None = None, trained: Collection[str] | None = None
) -> ImageSets:
    """Read and part the pictures that the recipe names; see `read_image_parts`."""
    read = read_image_parts(recipe, size, names, trained)
    return ImageSets(read.parts, read.classes, read.notes, {name: tensors(part) for name, part in read.parts.items()})
