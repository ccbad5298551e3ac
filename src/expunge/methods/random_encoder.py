from __future__ import annotations

from typing import Literal

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import CorruptedBatch
from expunge.methods.encoder_training import FeatureTraining


class RandomEncoder(FeatureTraining):
    r"""Random encoder, a baseline for generators (Li et al. 2024, arXiv:2402.00351; Tarun et al. 2023).

    $$L = \mathbb{E}_{x \in R} \left\| E_\theta(T(x)) - E_{\theta_0}(T(x)) \right\|^2
          + \alpha \, \mathbb{E}_{x \in F} \left\| E_\theta(T(x)) - z \right\|^2,
          \quad z \sim \mathcal{N}(\mu_E, \sigma_E^2)$$

    The encoder learns to keep the original's features of the retain set, and to give Gaussian noise on the forget set:
    the mean and standard deviation of the original's features of a batch of both sets, map by map, drawn for every
    batch. Squares are means over the features. Only the encoder trains, and the decoder is never run. (In the authors'
    code for MAGE the second term falls on pictures to keep by a slip; here it falls on those to forget, as in their
    code for Palette.)

    With `keeps: pixels` the first term is the training loss on the retain set, a mean over the hidden pixels, which
    departs from the authors' code.
    """

    alpha: NonNegativeFloat = 0.2
    "weight of the forget set's term; 0.2 in the authors' command for MAGE (its option's default is 0), 0.1 for Palette"
    keeps: Literal["features", "pixels"] = "features"
    """what is compared on the retain set: features with the original's, as in the authors' code, or pixels with the
    pictures"""
    fresh_noise: bool = True
    """other noise at every step, as in the authors' code; false: drawn once for each picture, with the statistics of
    the forget set's features"""

    def apply(self, work: GeneratorWork) -> None:
        retain_set, forget_set = self.sides(work)
        task, apart, pixels = work.task, self.apart(work), self.keeps == "pixels"
        if not pixels or self.fresh_noise:  # else the original's features of the retain set are not needed
            retain_set, forget_set = work.feature_targets(retain_set, forget_set)
        if not self.fresh_noise:
            features = forget_set.known.get("target")
            if features is None:
                features = work.original_features(forget_set.dataset, forget_set.known["keys"])
            forget_set = forget_set.knowing(target=work.noise_of(self.split(work, features), "features"))

        def wanted(said: Tensor | None, forget: CorruptedBatch) -> Tensor:
            own = work.target_of(forget)
            return own if said is None else drawn_like(self.split(work, torch.cat([said, own])))[len(said) :]

        def to_pixels(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            said = work.target_of(retain) if self.fresh_noise else None
            return task.loss(retain) + self.alpha * apart(task.batch_features(forget), wanted(said, forget))

        def to_features(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            ours, theirs = task.features_of(retain, forget)
            said = work.target_of(retain)
            goes = apart(theirs, wanted(said if self.fresh_noise else None, forget))
            return apart(ours, said) + self.alpha * goes

        self.train(
            work,
            to_pixels if pixels else to_features,
            retain_set,
            forget_set,
            share=(work.frozen_decoder_share + work.encoder_share) / 2 if pixels else work.encoder_share,
        )


def drawn_like(parts: list[Tensor]) -> Tensor:
    """Gaussian noise with each part's own mean and standard deviation, concatenated.

    From the CPU's global generator, which a phase of training seeds at each step: the same draws on every device.
    """
    return torch.cat(
        [part.mean() + part.std() * torch.randn(part.shape, dtype=part.dtype).to(part) for part in parts], 1
    )
