from __future__ import annotations

from collections.abc import Iterator

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.methods.image_method import ImageMethod
from expunge.ops.divergences import divergence
from expunge.train.phase import Phase


class Scrub(ImageMethod):
    r"""SCRUB (Kurmanji, Triantafillou et al. 2023, arXiv:2302.09880, equation 3 and algorithm 1).

    $$\min_\theta \; \alpha \, \mathbb{E}_{R}\, \mathrm{KL}\left(p_{\theta_0} \| p_\theta\right)
      + \gamma \, \mathbb{E}_{R}\left[-\log p_\theta(y \mid x)\right]
      - \mathbb{E}_{F}\, \mathrm{KL}\left(p_{\theta_0} \| p_\theta\right)$$

    The student disobeys its teacher, the original model, on the forget set and obeys it on the retain set, in turns: an
    epoch of ascent on the forget set, an epoch of descent on the retain set, both with one optimizer; the last epochs
    only descend. The teacher's outputs are computed once.
    """

    alpha: NonNegativeFloat = 0.001
    "weight of the divergence on the retain set; 0.001 for the paper's large-scale runs"
    gamma: NonNegativeFloat = 0.99
    "weight of the cross-entropy on the retain set; 0.99 for the paper's large-scale runs"
    temperature: PositiveFloat = 4.0
    "of the softened outputs; 4 in the authors' code for large-scale runs"
    epochs: PositiveInt = 3
    "epochs of descent; 3 for the paper's large-scale runs"
    ascent_epochs: NonNegativeInt = 2
    "epochs that begin with an ascent (msteps); 2"
    learning_rate: PositiveFloat = 5e-4
    "of SGD with momentum 0.9; 5e-4"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the paper"
    batch_size: PositiveInt = 64
    "of the retain set; 128 in the paper"
    forget_batch_size: PositiveInt = 32
    "32 in the paper"

    def apply(self, work: Work) -> None:
        for _ in self.rounds(work):
            pass

    def rounds(self, work: Work) -> Iterator[int]:
        """Train; yields the number of each epoch that is over, from 1."""
        retain, forget = work.original_outputs(work.retain), work.original_outputs(work.forget)

        def ascend(batch: ImageBatch) -> Tensor:
            return -divergence(forget[batch.rows], work.task.logits_of(batch.pixels), self.temperature)

        def descend(batch: ImageBatch) -> Tensor:
            logits = work.task.logits_of(batch.pixels)
            obeyed = divergence(retain[batch.rows], logits, self.temperature)
            return self.gamma * work.cross_entropy(batch, logits) + self.alpha * obeyed

        def phase(name: str, size: int) -> Phase:
            return self.phase(name, epochs=1, batch_size=size, continues="scrub")

        for epoch in range(1, self.epochs + 1):
            if epoch <= self.ascent_epochs:
                work.train(phase(f"ascent {epoch}", self.forget_batch_size), work.forget, ascend)
            work.train(phase(f"descent {epoch}", self.batch_size), work.retain, descend)
            yield epoch
