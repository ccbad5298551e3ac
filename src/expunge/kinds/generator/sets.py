"""What a run on a generator reads: the pictures as tensors, of the model's size, and what the generator undoes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from expunge.kinds.classifier.sets import tensors
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.model import NEW, generator_side, new_patch, patch_side
from expunge.kinds.generator.parts import GeneratorParts, read_generator_parts
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.models.source import locate

SIDE = 64
"picture size for a new model, and for one that does not give its own"


@dataclass(frozen=True, slots=True, eq=False)
class GeneratorSets(GeneratorParts):
    """Pictures by part, as arrays with their ids and as tensors."""

    tensors: Mapping[str, Pictures]
    kept: Pictures
    "the retain set while unlearning: the proxy if there is one"


def read_sets(recipe: GeneratorRecipe) -> GeneratorSets:
    """Read and split the recipe's pictures; see `read_generator_parts`. Their size: the recipe's, or the model's."""
    size = recipe.images.size
    if size is None and recipe.model not in NEW:
        size = generator_side(locate(recipe.model, recipe.revision).folder, recipe.model)
    read = read_generator_parts(recipe, size or SIDE)
    made = {name: tensors(part) for name, part in read.parts.items()}
    kept = made["retain"] if read.proxy is None else tensors(read.proxy)
    return GeneratorSets(read.parts, read.notes, read.proxy, read.identity, made, kept)


def corruption_of(recipe: GeneratorRecipe) -> Corruption:
    """The corruption that the generator undoes, in the model's patches."""
    if recipe.model in NEW:
        patch = new_patch(recipe.model)
    else:
        patch = patch_side(locate(recipe.model, recipe.revision).folder, recipe.model)
    return Corruption(recipe.corruption, recipe.strength, patch)
