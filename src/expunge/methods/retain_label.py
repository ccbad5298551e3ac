from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import CorruptedBatch
from expunge.methods.encoder_training import WholeTraining
from expunge.ops.feature_losses import squared


class RetainLabel(WholeTraining):
    r"""Retain label, a baseline for generators (Li et al. 2024, arXiv:2402.00351; Kong and Chaudhuri 2023).

    $$L = \mathbb{E}_{x \in R} \left\| h_\theta(T(x)) - h_{\theta_0}(T(x)) \right\|^2
          + \alpha \, \mathbb{E}_{x \in F} \left\| h_\theta(T(x)) - h_{\theta_0}(T(r)) \right\|^2,
          \quad r \in R, \quad h_\theta = D \circ E_\theta$$

    The model learns to keep the original's outputs on the retain set, and to give for each picture to forget the
    original's for a picture to keep, as both come in a batch. Squares are means over the whole output, hidden or shown
    (for a diffusion model the noise that it predicts). The whole model trains. The original is run in every step. (In
    the authors' code for MAGE the second term falls on pictures to keep by a slip; here it falls on those to forget, as
    in their code for Palette.)

    With `labels: pictures` the two targets are the pictures themselves, and squares are means over the hidden pixels as
    in training; r is then drawn once for each picture to forget. This departs from the authors' code.
    """

    labels: Literal["outputs", "pictures"] = "outputs"
    "targets: the original's outputs, as in the authors' code, or pictures of the retain set"

    def apply(self, work: GeneratorWork) -> None:
        retain_set, forget_set = self.sides(work)
        task = work.task

        def to_outputs(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            said = work.original_outputs_of(retain)
            others = said[torch.arange(len(forget.rows), device=said.device) % len(said)]
            return squared(task.outputs(retain), said) + self.alpha * squared(task.outputs(forget), others)

        def to_pictures(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            return task.loss(retain) + self.alpha * task.loss(forget)

        if self.labels == "pictures":
            loss = to_pictures
            forget_set = forget_set.knowing(wanted=work.drawn_from(work.retain, len(forget_set), "label").pixels)
        else:
            loss = to_outputs
            _ = work.original  # copied now, before the model changes
        self.train(work, loss, retain_set, forget_set, share=self.share(work))
