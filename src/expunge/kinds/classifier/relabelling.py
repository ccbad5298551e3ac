"""Other labels than the true ones, and other pixels, for pictures to forget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from expunge.kinds.classifier.task import ImageBatch


def wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """(n,) one of the other classes for each label, all equally likely."""
    return (labels + torch.randint(1, classes, labels.shape, generator=generator)) % classes


def substituted(batch: ImageBatch, first: int, pixels: Tensor) -> Tensor:
    """The batch's pixels, with those of rows from `first` on taken from `pixels` (n, 3, height, width), normalised.

    For pictures that 8 bits cannot represent: generated ones are at the end of a set, after `first` real ones.
    """
    made = batch.rows >= first
    result = batch.pixels.clone()
    result[made] = pixels[batch.rows[made] - first].to(result)
    return result
