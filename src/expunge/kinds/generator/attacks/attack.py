"""Base class of attacks on an image-to-image generator, and what they are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from expunge.kinds.classifier.attacks.picture_side import PictureSide
from expunge.kinds.classifier.attacks.relearning import OfTraining
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.attacks.nearness import VIEWS, Changed, nearness, views
from expunge.kinds.generator.corruption import draw_keys
from expunge.kinds.generator.feature_network import FeatureNetwork
from expunge.kinds.generator.task import ImageToImage
from expunge.runs.attacking import AnyAttack, found_attacks
from expunge.runs.attacks.weights import OfWeights
from expunge.runs.work import Work


@dataclass(slots=True, kw_only=True)
class Side(PictureSide[ImageToImage]):
    """One side of an audit of a generator.

    Attributes:
        middle: (3, side, side) the mean picture of the retain set, with pixels from 0 to 1.
        group: returns a function that returns the network that names classes, trained if need be, and (classes,) the
            share of each that is to be forgotten; None if the forget set is not a group of classes that it knows.
        untrained: the remaining work of training that network, counted for the side attacked first.
    """

    middle: Tensor
    group: Callable[[], tuple[Callable[[], FeatureNetwork], np.ndarray] | None] = lambda: None
    untrained: Work = field(default_factory=Work)

    def values(self, task: ImageToImage, numbers: list[int], change: Changed | None = None) -> list[float]:
        """(numbers,) how closely each picture is drawn; see `nearness`."""
        keys = views(len(self.asked), self.seed)
        return nearness(task, self.asked.pictures, numbers, keys, self.middle, change)

    def trainable(self, task: ImageToImage) -> list[nn.Parameter]:
        """All weights that are ever trained: in some models positions are not."""
        return [parameter for parameter in task.model.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def passed(self, task: ImageToImage, pictures: Pictures) -> None:
        for batch in task.evaluated(pictures, draw_keys(len(pictures), self.seed, "timed")):
            task.outputs(batch).cpu()

    def loss(self, task: ImageToImage, batch: Pictures, held: bool, draw: str) -> Tensor:
        """The training loss under freshly drawn corruptions, the model in training mode."""
        task.model.train()
        keys = draw_keys(len(batch), self.seed, "relearning", draw)
        return task.loss(task.batch(batch, torch.arange(len(batch)), keys=keys))

    def asking(self) -> float:
        return float(len(self.asked) * VIEWS * self.look().drawing_passes)

    def asking_held_back(self) -> float:
        """The same for the pictures that attackers are not given."""
        return self.asking() * len(self.asked.held_back) / len(self.asked)


class Attack(AnyAttack[Side]):
    """One attack: a subclass in a file here, or an entry point of `expunge.attacks`. No list to add it to."""


def attacks() -> list[AnyAttack[Side]]:
    """Every attack, in the order in which they run."""
    from expunge.kinds.generator import attacks as room
    from expunge.runs import attacks as shared

    return found_attacks((room, shared), (Attack, OfTraining, OfWeights))
