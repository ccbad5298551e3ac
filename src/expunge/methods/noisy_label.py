"""Noisy label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat

from expunge.methods.encoder_training import EncoderTraining
from expunge.tasks.picture_noise import NoiseKind

if TYPE_CHECKING:
    from torch import Tensor

    from expunge.engine.generator_work import GeneratorWork
    from expunge.tasks.image_to_image import CorruptedBatch


class NoisyLabel(EncoderTraining):
    r"""Noisy label, a baseline for generators (Li et al. 2024, arXiv:2402.00351; Graves et al. 2021).

    $$L = \mathbb{E}_{x \in R} \left\| D(E_\theta(T(x))) - x \right\|^2
          + \alpha \, \mathbb{E}_{x \in F} \left\| D(E_\theta(T(x))) - n \right\|^2,
          \quad n \sim \mathcal{N}(\mu, \sigma^2)$$

    The training loss, with noise in place of the forgotten pictures: a picture of it for each, drawn once, with a batch's
    mean and standard deviation. Squares are means over the hidden pixels. Only the encoder trains.
    """

    alpha: NonNegativeFloat = 0.25
    "weight of the forget set's term; 0.25 for encoder scrubbing in the paper's code"
    noise: NoiseKind = "normal"
    "kind of n"

    def apply(self, work: GeneratorWork) -> None:
        kept, kept_keys, lost, lost_keys = self.sides(work)
        task = work.task

        def loss(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            return task.loss(retain) + self.alpha * task.loss(forget)

        self.train(
            work,
            loss,
            kept,
            lost,
            known={"keys": kept_keys},
            known_beside={"keys": lost_keys, "wanted": work.noise_pictures(lost, self.noise, "label")},
            share=work.frozen_decoder_share,
        )
