"""Random encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat

from expunge.methods.encoder_training import EncoderTraining
from expunge.tasks.losses import squared

if TYPE_CHECKING:
    from torch import Tensor

    from expunge.engine.generator_work import GeneratorWork
    from expunge.tasks.image_to_image import CorruptedBatch


class RandomEncoder(EncoderTraining):
    r"""Random encoder, a baseline for generators (Li et al. 2024, arXiv:2402.00351; Tarun et al. 2023).

    $$L = \mathbb{E}_{x \in R} \left\| D(E_\theta(T(x))) - x \right\|^2
          + \alpha \, \mathbb{E}_{x \in F} \left\| E_\theta(T(x)) - z \right\|^2,
          \quad z \sim \mathcal{N}(\mu_E, \sigma_E^2)$$

    The training loss on the retain set, and Gaussian noise in place of the forget set's features: drawn once for each
    picture, with the mean and standard deviation of the original's features of the forget set. Squares are means over the
    hidden pixels, and over the features. Only the encoder trains.
    """

    alpha: NonNegativeFloat = 0.25
    "weight of the forget set's term; 0.25 for encoder scrubbing in the paper's code"

    def apply(self, work: GeneratorWork) -> None:
        kept, kept_keys, lost, lost_keys = self.sides(work)
        task = work.task

        def loss(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            return task.loss(retain) + self.alpha * squared(task.batch_features(forget), work.target_of(forget))

        noise = work.noise_of(work.original_features(lost, lost_keys), "features")
        self.train(
            work,
            loss,
            kept,
            lost,
            known={"keys": kept_keys},
            known_beside={"keys": lost_keys, "target": noise},
            share=(work.frozen_decoder_share + work.encoder_share) / 2,
        )
