from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import CorruptedBatch
from expunge.runs.method import Method, Needs
from expunge.train.session import WithKnown


class Decoupling(Method):
    r"""Decoupling and knowledge retention (after Varshney and Torra 2025, arXiv:2502.04260).

    $$\text{decouple:}\quad \max_\theta \ell_F(\theta) \;\text{ until }\;
      \ell_F(\theta) \ge \lambda \, \ell_F(\theta_0), \qquad
      \text{retain:}\quad \min_\theta \ell_R(\theta), \qquad
      \ell_S = \mathbb{E}_{x \in S} \left\| D(E_\theta(T(x))) - x \right\|^2$$

    Gradient ascent makes the forget set as strange to the model as pictures of another kind; fine-tuning repairs the
    rest. Outputs are then not noise, but what a model draws that never saw such pictures. The whole model trains. The
    paper measures strangeness by how far outputs moved; here by the loss, which costs nothing extra.
    """

    ascent_epochs: PositiveFloat = 1.0
    "passes over the forget set while the loss rises, at most"
    ascent_learning_rate: PositiveFloat = 1e-4
    "of SGD with momentum 0.9 and gradients of norm 1 at most, while the loss rises"
    strangeness: PositiveFloat = 3.0
    "lambda: a batch stops pushing once its loss is this many times the original's mean loss"
    epochs: PositiveFloat = 2.0
    "passes over the retain set while it is repaired"
    learning_rate: PositiveFloat = 3e-4
    "highest, of AdamW, falling along a cosine, while the rest is repaired"
    batch_size: PositiveInt = 64
    "pictures in a batch"
    retain_pictures: PositiveInt | None = 4096
    "pictures of the retain set to use, at most, drawn once; null: all of them"

    needs: ClassVar[Needs] = Needs(retain="always", kinds=("image_to_image",))

    def apply(self, work: GeneratorWork) -> None:
        retained = work.part(work.retain, self.retain_pictures, "retain")
        retain_set = WithKnown(retained, {"keys": work.keys(len(retained), "retain")})
        forget_set = WithKnown(work.forget, {"keys": work.keys(len(work.forget), "forget")})
        ceiling = self.strangeness * work.original_loss(work.forget, forget_set.known["keys"])
        task = work.task

        def rise(forget: CorruptedBatch) -> Tensor:
            return -task.loss(forget).clamp(max=ceiling)

        ascent = work.phase(
            "decouple",
            len(work.forget),
            self.ascent_epochs,
            self.batch_size,
            learning_rate=self.ascent_learning_rate,
            max_grad_norm=1.0,
        )
        work.train(ascent, forget_set, rise)
        repair = work.phase(
            "retain",
            len(retain_set),
            self.epochs,
            self.batch_size,
            learning_rate=self.learning_rate,
            optimizer="adamw",
            schedule="cosine",
            max_grad_norm=3.0,
        )
        work.train(repair, retain_set, task.loss)
