"""Retain label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat

from expunge.methods.encoder_training import EncoderTraining

if TYPE_CHECKING:
    from torch import Tensor

    from expunge.engine.generator_work import GeneratorWork
    from expunge.tasks.image_to_image import CorruptedBatch


class RetainLabel(EncoderTraining):
    r"""Retain label, a baseline for generators (Li et al. 2024, arXiv:2402.00351; Kong and Chaudhuri 2023).

    $$L = \mathbb{E}_{x \in R} \left\| D(E_\theta(T(x))) - x \right\|^2
          + \alpha \, \mathbb{E}_{x \in F} \left\| D(E_\theta(T(x))) - r(x) \right\|^2, \quad r(x) \in R$$

    The training loss, with a picture of the retain set in place of each forgotten one, drawn once. Squares are means over
    the hidden pixels. Only the encoder trains.
    """

    alpha: NonNegativeFloat = 0.25
    "weight of the forget set's term; 0.25 for encoder scrubbing in the paper's code"

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
            known_beside={"keys": lost_keys, "wanted": work.drawn_from(work.retain, len(lost), "label").pixels},
            share=work.frozen_decoder_share,
        )
