"""Base class of attacks on an image classifier, and what they are given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from expunge.kinds.classifier.attacks.examples import known
from expunge.kinds.classifier.attacks.picture_side import PictureSide
from expunge.kinds.classifier.attacks.relearning import OfTraining
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.runs.attacking import AnyAttack, found_attacks
from expunge.runs.attacks.weights import OfWeights


@dataclass(slots=True, kw_only=True)
class Side(PictureSide[ImageClassifier]):
    """One side of an audit of a classifier."""

    def values(self, task: ImageClassifier, numbers: list[int]) -> list[float]:
        """(numbers,) the probability of each picture's true class."""
        return known(task, self.asked.some(numbers))

    def trainable(self, task: ImageClassifier) -> Iterator[nn.Parameter]:
        """All weights."""
        return task.model.parameters()

    def passed(self, task: ImageClassifier, pictures: Pictures) -> None:
        task.outputs(pictures).cpu()

    def loss(self, task: ImageClassifier, batch: Pictures, held: bool, draw: str) -> torch.Tensor:
        """Cross-entropy, the model in training mode."""
        task.model.train()
        if held:
            for module in task.model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return F.cross_entropy(task.logits_of(task.normalised(batch.pixels)), batch.labels.to(task.device))


class Attack(AnyAttack[Side]):
    """One attack: a subclass in a file here, or an entry point of `expunge.attacks`. No list to add it to."""


def attacks() -> list[AnyAttack[Side]]:
    """Every attack, in the order in which they run."""
    from expunge.kinds.classifier import attacks as room
    from expunge.runs import attacks as shared

    return found_attacks((room, shared), (Attack, OfTraining, OfWeights))
