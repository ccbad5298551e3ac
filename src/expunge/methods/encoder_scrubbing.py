from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from expunge.kinds.generator.picture_noise import NoiseKind
from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import CorruptedBatch
from expunge.methods.encoder_training import FeatureTraining
from expunge.ops.feature_losses import Distance


class EncoderScrubbing(FeatureTraining):
    r"""Encoder scrubbing for image-to-image generators (Li, Hsu, Chen and Marculescu 2024, arXiv:2402.00351, equation 10).

    $$L = \mathbb{E}_{x \in R} \left\| E_\theta(T(x)) - E_{\theta_0}(T(x)) \right\|^2
          + \alpha \, \mathbb{E}_{x \in F} \left\| E_\theta(T(x)) - E_{\theta_0}(T(n)) \right\|^2,
          \quad n \sim \mathcal{N}(\mu, \sigma^2)$$

    E is the encoder, T the corruption, n noise with the mean and, where it is normal or uniform, the standard deviation
    of a batch's pixels. Only the encoder trains; the decoder is never run. Squares are means over a picture's features;
    those of a diffusion model are maps of several sizes, and the means of the maps are added up. The original encoder's
    output is computed once for each picture and corruption, where the authors' code draws other noise for every batch.

    The visible part of a picture may not show which set it belongs to. Squares then move it half of the way, which
    spoils it and hides little. With `distance: euclidean` each vector's difference counts as its length (the root of
    the mean square of its numbers), not squared: like a median instead of a mean, its optimum is one way or the other.
    This departs from the paper, and so does black and white noise (`noise: binary`).
    """

    alpha: NonNegativeFloat = 0.2
    "weight of the forget set's term; 0.2 in the authors' command for MAGE (its option's default is 0), 0.1 for Palette"
    noise: NoiseKind = "normal"
    "kind of n; normal in the paper"
    distance: Distance = "squared"
    "distance of features: squared as in the paper; euclidean retains more and forgets more if the sets look alike"

    def apply(self, work: GeneratorWork) -> None:
        retain_set, forget_set = self.sides(work)
        task, apart = work.task, self.apart(work, self.distance)
        retain_set, forget_set = work.scrubbing_targets(retain_set, forget_set, self.noise)

        def loss(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            ours, theirs = task.features_of(retain, forget)
            stays = apart(ours, work.target_of(retain))
            goes = apart(theirs, work.target_of(forget, self.noise))
            return stays + self.alpha * goes

        self.train(work, loss, retain_set, forget_set, share=work.encoder_share)
