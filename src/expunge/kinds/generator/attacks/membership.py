"""Membership: can pictures that were trained on be distinguished from similar ones that no model saw?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from expunge.kinds.classifier.attacks.membership import Groups, membership_trials
from expunge.kinds.generator.attacks.attack import Attack, Side
from expunge.kinds.generator.corruption import draw_keys
from expunge.kinds.generator.task import ImageToImage
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

MASKS = 4
"corruptions of each picture over which its loss is averaged"
LOSS = "training loss, low"
"score of one model; with a retrained one there are more"


class Membership(Attack):
    """The training loss of each picture (of autoencoders how badly the hidden pixels are drawn, of diffusion models how
    badly the noise is predicted: Duan et al. 2023, arXiv:2302.01316), alone and compared with that of other models
    (Watson et al. 2022, arXiv:2111.08440)."""

    name = "membership"
    title = "Membership"
    sentence = (
        "Each picture's training loss, alone and compared with other models', is used to tell pictures that were "
        "trained on from others: the area under the ROC curve against pictures of the same kind that no model saw. "
        "0.5 is chance; far below it, the model gives away what it forgot."
    )
    order = 15

    def missing(self, side: Side) -> str | None:
        if side.holdout is not None:
            return None
        return "it needs pictures of the same kind that no model saw: give --holdout PATH"

    def pieces(self, side: Side) -> list[Piece]:
        models = 1 if side.reference is None else 3
        read = MASKS * models * (len(side.asked) + (0 if side.holdout is None else len(side.holdout)))
        return [Piece(words="all scores", work=Work(read=read), trials=None)]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        """Values are each picture's contribution to the area: the share of unseen pictures that score below it."""
        return membership_trials(side, [LOSS], scores)


def scores(side: Side) -> dict[str, Groups]:
    """Attack -> scores of both groups; higher means trained on."""
    assert side.holdout is not None

    def losses(task: ImageToImage) -> list[np.ndarray]:
        return [picture_losses(task, side, number) for number in range(2)]

    own = losses(side.look())
    found: dict[str, Groups] = {LOSS: (-own[0], -own[1])}
    if side.reference is not None:
        for words, look in (("base", side.base), ("retrained", side.reference)):
            theirs = losses(look())
            found[f"training loss compared with the {words} model's"] = (theirs[0] - own[0], theirs[1] - own[1])
    return found


@torch.no_grad()
def picture_losses(task: ImageToImage, side: Side, group: int) -> np.ndarray:
    """(pictures,) mean training loss of each attacked picture (group 0) or unseen picture (1)."""
    examples = (side.asked, side.holdout)[group]
    assert examples is not None
    total = torch.zeros(len(examples), dtype=torch.float64)
    for mask in range(MASKS):
        keys = draw_keys(len(examples), side.seed, "membership", mask)
        parts = [task.picture_losses(batch) for batch in task.evaluated(examples.pictures, keys)]
        total += torch.cat(parts).cpu().double()
    return np.nan_to_num((total / MASKS).numpy(), nan=0.0)
