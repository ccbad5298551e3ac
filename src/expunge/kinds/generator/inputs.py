"""What a run on a generator reads: the pictures, of the model's size, and what the generator undoes."""

from __future__ import annotations

from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.model import NEW, generator_side, new_patch, patch_side
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.sets import GeneratorSets, read_generator_sets
from expunge.models.source import locate

SIDE = 64
"pixels of the pictures that a new model learns from, and of one that does not say its own"


def corruption_of(recipe: GeneratorRecipe) -> Corruption:
    """What the generator undoes, in the model's patches."""
    if recipe.model in NEW:
        patch = new_patch(recipe.model)
    else:
        patch = patch_side(locate(recipe.model, recipe.revision).folder, recipe.model)
    return Corruption(recipe.corruption, recipe.strength, patch)


def side_of(recipe: GeneratorRecipe) -> int:
    """Pixels of the pictures: the model's own, or what is asked for."""
    if recipe.model in NEW:
        return recipe.images.size or SIDE
    return recipe.images.size or generator_side(locate(recipe.model, recipe.revision).folder, recipe.model) or SIDE


def read_sets(recipe: GeneratorRecipe) -> GeneratorSets:
    """The pictures of the run."""
    return read_generator_sets(recipe, side_of(recipe))
