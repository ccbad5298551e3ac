"""Shared by methods that train a generator: fields, the two sets side by side, the phase, how features are compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import CorruptedBatch
from expunge.ops.feature_losses import DISTANCES, Distance, over_maps
from expunge.runs.method import Method, Needs
from expunge.train.session import Passes, WithKnown


class EncoderTraining(Method):
    """Base of methods that train the encoder alone, on both sets side by side, with AdamW."""

    epochs: PositiveFloat = 4.0
    "passes over the larger set; 6 in the paper, whose models were trained for longer"
    learning_rate: PositiveFloat = 3e-3
    "highest, of AdamW; rises over the first steps and falls along a cosine; chosen on faces, for a small model"
    weight_decay: NonNegativeFloat = 0.0
    "pull of the weights towards 0"
    warmup: float = Field(default=0.1, ge=0, le=1)
    "share of the steps over which the rate rises"
    max_grad_norm: PositiveFloat | None = 3.0
    "gradients are clipped to this norm; 3 in the paper's code"
    batch_size: PositiveInt = 32
    "pictures of each set in a batch; at 64, half as many steps of the same cost, less is retained and less forgotten"
    retain_pictures: PositiveInt | None = 3072
    "pictures of the retain set to use, at most, drawn once; null: all of them"
    views: PositiveInt = 4
    "corruptions of each picture, drawn once; the original's outputs on them are precomputed"
    forget_views: PositiveInt | None = None
    "the same for pictures to forget, if it is not `views`; further ones reuse the first one's corruptions"

    needs: ClassVar[Needs] = Needs(retain="always", kinds=("image_to_image",))

    def sides(self, work: GeneratorWork) -> tuple[WithKnown, WithKnown]:
        """(retain set, forget set), with their keys of corruptions, every view one after the other.

        Keys of more than `views` views are those of the first ones, each for other pictures: what noise becomes under a
        corruption is computed once, whichever picture it replaces.
        """
        retain = work.part(work.retain, self.retain_pictures, "retain")
        count, views = len(work.forget), self.forget_views or self.views
        drawn = work.keys(count * min(views, self.views), "forget")
        keys = [drawn, *(drawn[:count][work.shuffled(count, "forget", view)] for view in range(self.views, views))]
        return (
            WithKnown(work.viewed(retain, self.views), {"keys": work.keys(len(retain) * self.views, "retain")}),
            WithKnown(work.viewed(work.forget, views), {"keys": torch.cat(keys)}),
        )

    def parameters(self, work: GeneratorWork) -> list[nn.Parameter]:
        """The weights that are trained."""
        return work.encoder()

    def train(
        self,
        work: GeneratorWork,
        loss: Callable[[CorruptedBatch, CorruptedBatch], Tensor],
        retain: WithKnown,
        forget: WithKnown,
        *,
        share: float,
    ) -> None:
        """Lower `loss` (of a retain and a forget batch) by changing `parameters`.

        Args:
            share: share of the model's work that the loss needs.
        """
        phase = work.phase(
            "unlearning",
            max(len(retain) // self.views, len(work.forget)),
            self.epochs,
            self.batch_size,
            learning_rate=self.learning_rate,
            optimizer="adamw",
            betas=(0.9, 0.95),
            weight_decay=self.weight_decay,
            schedule="cosine",
            warmup=self.warmup,
            max_grad_norm=self.max_grad_norm,
        )
        work.train(
            phase,
            retain,
            loss,
            paired_with=forget,
            parameters=self.parameters(work),
            passes=Passes(share=share),
        )


class FeatureTraining(EncoderTraining):
    """Base of methods with a loss on the encoder's features."""

    maps: Literal["alike", "by_size"] = "alike"
    """how a diffusion model's maps of several sizes count: each by its mean, as in the authors' code, or each number
    alike"""

    def split(self, work: GeneratorWork, features: Tensor) -> list[Tensor]:
        """Features map by map; in one piece where maps count by their size."""
        return work.task.maps(features, work.side) if self.maps == "alike" else [features]

    def apart(self, work: GeneratorWork, distance: Distance = "squared") -> Callable[[Tensor, Tensor], Tensor]:
        """How far features (batch, ...) are from a target: a scalar, the sum over the maps."""
        return partial(over_maps, DISTANCES[distance], partial(self.split, work))


class WholeTraining(EncoderTraining):
    """Base of methods with a loss on the decoder's outputs."""

    weights: Literal["all", "encoder"] = "all"
    "which are trained: all of the model, as in the authors' code, or those of its encoder"
    alpha: NonNegativeFloat = 0.2
    "weight of the forget set's term; 0.2 in the authors' command for MAGE (its option's default is 0), 0.1 for Palette"

    def parameters(self, work: GeneratorWork) -> list[nn.Parameter]:
        return work.trainable() if self.weights == "all" else work.encoder()

    def share(self, work: GeneratorWork) -> float:
        """The work of one step, as a share of a full step."""
        return 1.0 if self.weights == "all" else work.frozen_decoder_share
