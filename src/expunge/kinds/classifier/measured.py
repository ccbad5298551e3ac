"""A classifier's outputs on every split of a run's pictures, and how far its weights lie from the retrained model's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import nn

from expunge.core.order import random_seed
from expunge.core.score import Score, Which
from expunge.kinds.classifier.measures.scores import COMPARED, SPLITS, Outputs, weight_scores
from expunge.kinds.classifier.model import NEW, new_classifier
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.classifier.task import ImageClassifier
from expunge.ops.layers import leaves


def outputs_of(task: ImageClassifier, sets: ImageSets) -> Outputs:
    """Logits and labels of every split."""
    return Outputs(
        {split: task.outputs(sets.tensors[split]).cpu().numpy() for split in SPLITS},
        {split: sets.tensors[split].labels.numpy() for split in SPLITS},
    )


def features_of(task: ImageClassifier, sets: ImageSets) -> dict[str, np.ndarray]:
    """What the head sees, by split; nothing where several networks answer together, or there is no head."""
    if getattr(task.model, "is_ensemble", False) or not leaves(task.model, nn.Linear):
        return {}
    return {split: task.features(sets.tensors[split]).cpu().numpy() for split in COMPARED}


def weight_distances(models: Mapping[Which, ImageClassifier], oracle: ImageClassifier) -> list[Score]:
    """How far the weights of models lie from the retrained model's."""

    def weights(task: ImageClassifier) -> dict[str, np.ndarray]:
        return {name: parameter.detach().cpu().numpy() for name, parameter in task.model.named_parameters()}

    theirs = weights(oracle)
    return [score for which, task in models.items() for score in weight_scores(weights(task), which, theirs)]


def random_baseline(recipe: ImageRecipe, sets: ImageSets) -> Outputs:
    """Outputs of a randomly initialised model."""
    name = recipe.model if recipe.model in NEW else "resnet18-small"
    return outputs_of(new_classifier(name, sets.classes, random_seed(recipe.seed, "teacher") % (1 << 31)), sets)
