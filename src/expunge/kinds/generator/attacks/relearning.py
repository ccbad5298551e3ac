"""Relearning: does a copy of the model draw what was forgotten after a few training steps?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from expunge.kinds.classifier.attacks.picture_side import PictureSide
from expunge.kinds.classifier.attacks.relearning import OfTraining, Relearning, RetainRelearning, Way
from expunge.kinds.generator.measures.leaks import decoder_weights

__all__ = ["DecoderRelearning", "Relearning", "RetainRelearning"]


class DecoderRelearning(OfTraining):
    """Relearning of the decoder alone: what the encoder still reads of a picture is then drawn."""

    name = "relearn_decoder"
    title = "Training the decoder"
    sentence = (
        "The decoder is trained for a few steps on half of the pictures, with the encoder frozen, and tried on the "
        "other half. This brings back what methods that change the encoder leave in its features."
    )
    order = 22
    ways = (Way("given", 1e-3),)

    def trained(self, side: PictureSide[Any], task: Any) -> Iterable[nn.Parameter]:
        return decoder_weights(task)
