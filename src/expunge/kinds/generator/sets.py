"""The pictures of a run on a generator as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from expunge.data.images.image_set import ImageSet
from expunge.kinds.classifier.sets import tensors
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.parts import GeneratorParts, read_generator_parts
from expunge.kinds.generator.recipe import GeneratorRecipe


@dataclass(frozen=True, slots=True, eq=False)
class GeneratorSets(GeneratorParts):
    """Pictures by part, as arrays with their ids and as tensors.

    Attributes:
        stand_in: the proxy of the retain set, where there is one.
    """

    tensors: Mapping[str, Pictures]
    stand_in: Pictures | None


def read_generator_sets(recipe: GeneratorRecipe, size: int) -> GeneratorSets:
    """Read and part the pictures that the recipe names; see `read_generator_parts`."""
    read = read_generator_parts(recipe, size)
    return GeneratorSets(
        read.parts,
        read.notes,
        read.proxy,
        read.identity,
        {name: _pictures(part) for name, part in read.parts.items()},
        None if read.proxy is None else tensors(read.proxy),
    )


def _pictures(images: ImageSet) -> Pictures:
    """Pictures as tensors; none of them as an empty set of their size."""
    if len(images):
        return tensors(images)
    side = images.pixels.shape[1]
    empty = torch.empty(0, 3, side, side, dtype=torch.uint8)
    return Pictures(pixels=empty, labels=torch.empty(0, dtype=torch.int64))
