from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from expunge.kinds.generator.picture_noise import NoiseKind
from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import CorruptedBatch
from expunge.methods.encoder_training import WholeTraining


class NoisyLabel(WholeTraining):
    r"""Noisy label, a baseline for generators (Li et al. 2024, arXiv:2402.00351; Graves et al. 2021).

    $$L = \mathbb{E}_{x \in R} \left\| D(E_\theta(T(x))) - x \right\|^2
          + \alpha \, \mathbb{E}_{x \in F} \left\| D(E_\theta(T(x))) - n \right\|^2,
          \quad n \sim \mathcal{N}(\mu, \sigma^2)$$

    The training loss, with noise instead of the forgotten pictures: pixels with the mean and standard deviation of a
    batch of both sets, drawn for every batch. Squares are means over the hidden pixels. The whole model trains. The
    authors draw indices of codebook words, since their model predicts those; here pixels are drawn, for every kind of
    model. (Their diffusion model is also given pure noise for the forgotten picture; here it is given the picture under
    noise, and learns to predict the noise that would lead from n to its input.)
    """

    noise: NoiseKind = "normal"
    "kind of n"
    fresh_noise: bool = True
    "other noise at every step, as in the authors' code; false: noise drawn once for each picture"

    def apply(self, work: GeneratorWork) -> None:
        retain_set, forget_set = self.sides(work)
        task = work.task

        def loss(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            if self.fresh_noise:
                forget = replace(forget, wanted=work.noise_for(forget, retain, self.noise))
            return task.loss(retain) + self.alpha * task.loss(forget)

        if not self.fresh_noise:
            forget_set = forget_set.knowing(wanted=work.noise_pictures(forget_set.dataset, self.noise, "label"))
        self.train(work, loss, retain_set, forget_set, share=self.share(work))
