from __future__ import annotations

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.methods.image_method import ImageMethod
from expunge.ops.divergences import divergence
from expunge.ops.layers import reset


class BadTeacher(ImageMethod):
    r"""Bad teacher (Chundawat et al. 2022, arXiv:2205.08096, equation 3).

    $$L = \frac{1}{|F| + |R'|} \left( \sum_{x \in F} \mathrm{KL}\left(p_{\mathrm{bad}} \| p_\theta\right)
          + \sum_{x \in R'} \mathrm{KL}\left(p_{\theta_0} \| p_\theta\right) \right)$$

    A network with random weights teaches what to answer to pictures to forget, the original what to answer to a part R'
    of the retain set. The outputs of both teachers are computed once. No labels are used. (The authors' code also
    divides by the number of classes, and does not multiply by the square of the temperature: Adam hardly sees that.)
    """

    retain_share: float = Field(default=0.3, gt=0, le=1)
    "part of the retain set that is trained on, drawn once; 0.3 in the paper"
    temperature: PositiveFloat = 1.0
    "of the softened outputs; 1 in the paper"
    epochs: PositiveFloat = 1
    "passes over both sets; 1 in the paper"
    learning_rate: PositiveFloat = 1e-4
    "of Adam; 1e-4 in the paper"
    batch_size: PositiveInt = 256
    "pictures in a batch; 256 in the paper"

    def apply(self, work: Work) -> None:
        count = max(1, round(self.retain_share * len(work.retain)))
        rows = torch.randperm(len(work.retain), generator=work.generator("part"))[:count]
        pictures = work.forget.joined(work.retain.take(rows))
        bad = work.frozen(work.model)
        reset([bad.model], work.generator("teacher"))
        taught = torch.cat([bad.outputs(work.forget), work.original.outputs(work.retain.take(rows))])
        work.cost.passes += len(pictures)

        def loss(batch: ImageBatch) -> Tensor:
            return divergence(taught[batch.rows], work.task.logits_of(batch.pixels), self.temperature)

        phase = self.phase("teaching", optimizer="adam")
        work.train(phase, pictures, loss)
