from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.methods.image_method import ImageMethod
from expunge.ops.divergences import divergence
from expunge.ops.layers import first_layer, head, reset
from expunge.runs.method import Needs
from expunge.train.phase import cosine


def distillation(teacher_logits: Tensor, logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and mean KL of softened outputs against the teacher's; two scalars, not scaled by T^2."""
    target = (teacher_logits / temperature).softmax(-1)
    soft = -(target * (logits / temperature).log_softmax(-1)).sum(-1).mean()
    return soft, divergence(teacher_logits, logits, temperature) / temperature**2


class Amnesiacs(ImageMethod):
    r"""The Algorithmic Amnesiacs' sixth prize of the NeurIPS 2023 challenge: first layer and head reinitialised
    (notebook; arXiv:2406.09073).

    $$\text{erase:}\quad \theta_{\text{first}}, \theta_{\text{head}} \leftarrow \text{random}$$

    $$\text{warm up:}\quad \min_\theta \; \mathbb{E}_{V}\, \mathrm{KL}\left(p^T_{\theta_0} \| p^T_\theta\right)$$

    $$\text{repair:}\quad \min_\theta \; \mathbb{E}_{R}\Big[-\sum_c p^T_{\theta_0}(c) \log p^T_\theta(c)
      - \log p_\theta(y \mid x) + \mathrm{KL}\left(p^T_{\theta_0} \| p^T_\theta\right)\Big]$$

    The two layers that differ most between an original and a retrained model are reinitialised. They first learn from
    the original model on held-back pictures V, which no request covers, then from it and the labels on the retain set.
    p^T are outputs softened with temperature T; the original's are computed once.
    """

    fresh: Literal["pytorch", "fan_out"] = "pytorch"
    """distribution of the first layer's new weights: PyTorch's own, as in the notebook, or He's by fan-out, about half
    as large"""
    temperature: PositiveFloat = 5.0
    "T; 5 in the notebook"
    warmup_epochs: PositiveInt = 3
    "epochs on held-back pictures; 3 in the notebook"
    warmup_learning_rate: PositiveFloat = 9e-4
    "of SGD with momentum 0.9; 9e-4 in the notebook"
    epochs: PositiveInt = 3
    "epochs of repair; 3 in the notebook"
    learning_rate: PositiveFloat = 1e-3
    "of the repair, falling by epoch with a cosine; 0.001 in the notebook"
    weight_decay: NonNegativeFloat = 5e-4
    "of both phases; 5e-4 in the notebook"
    batch_size: PositiveInt = 64
    "64 in the challenge"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", validation=True, kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        assert work.validation is not None
        held, retained = work.original_outputs(work.validation), work.original_outputs(work.retain)

        def follow(batch: ImageBatch) -> Tensor:
            return distillation(held[batch.rows], work.task.logits_of(batch.pixels), self.temperature)[1]

        def repair(batch: ImageBatch) -> Tensor:
            logits = work.task.logits_of(batch.pixels)
            soft, apart = distillation(retained[batch.rows], logits, self.temperature)
            return soft + work.cross_entropy(batch, logits) + apart

        reset([first_layer(work.model), head(work.model)], work.generator("reset"), residual=self.fresh == "fan_out")
        warmup = self.phase("warm up", epochs=self.warmup_epochs, learning_rate=self.warmup_learning_rate)
        work.train(warmup, work.validation, follow)
        last = self.phase("repair")
        for phase in last.by_epoch(cosine(self.learning_rate, self.epochs)):
            work.train(phase, work.retain, repair)
