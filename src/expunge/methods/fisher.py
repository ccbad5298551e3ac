from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import head
from expunge.runs.method import Needs

SMALLEST_INFORMATION = 1e-8
"keeps the variance of a weight that no output depends on finite before it is bounded"


class Fisher(ImageMethod):
    r"""Fisher forgetting (Golatkar, Achille and Soatto 2020, arXiv:1911.04933, section 5; noise as in the authors' code).

    $$\theta_i \leftarrow \theta_i + \sqrt{\alpha / F_i} \; \varepsilon_i, \quad
      \varepsilon_i \sim \mathcal{N}(0, 1), \qquad
      F = \frac{1}{|R|} \sum_{x \in R} \sum_c p_\theta(c \mid x) \left(\nabla_\theta \log p_\theta(c \mid x)\right)^2$$

    Noise on every weight: the less the retained pictures' outputs depend on it, the more. Nothing is trained. The
    paper derives noise that goes with F to the power -1/4; its code (`get_mean_var` of
    AdityaGolatkar/SelectiveForgetting: the root of alpha / F), and all code that follows it, has the power -1/2, which
    is what the name stands for, and is used here. As in the code, 1 / F is bounded, averaged over a layer's inputs, and
    ten times as large for the head and for tensors of one dimension (normalisation, biases). Not done here: if a whole
    class is forgotten, the code also sets that class's row of the head to noise around 0, so that the class is never
    predicted, whatever the other weights contain.
    """

    alpha: PositiveFloat = 3e-6
    "size of the noise; 3e-6 is the default in the authors' code, run with 1e-6; tuned from 1e-9 to 1e-6 in comparisons"
    largest_variance: PositiveFloat = 1e3
    "bound of 1 / F; 1000 in the authors' code"
    largest_head_variance: PositiveFloat = 1e2
    "bound of 1 / F in the head; 100 in the authors' code"
    emphasis: PositiveFloat = 10.0
    "factor of the variance in the head and in tensors of one dimension; 10 in the authors' code"
    pictures: PositiveInt | None = None
    "retained pictures that F is estimated from, drawn at random; all of them in the authors' code"
    batch_size: PositiveInt = 1
    "pictures whose gradients are averaged before they are squared; 1 is the formula, more is faster and too small"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        generator = work.generator("noise")
        own = {id(parameter) for parameter in head(work.model).parameters()}
        information = self.information(work)
        with torch.no_grad():
            for parameter, found in zip(work.trainable(), information, strict=True):
                drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype).to(parameter.device)
                parameter.add_(self.variance(found, in_head=id(parameter) in own).sqrt() * drawn)

    def variance(self, information: Tensor, *, in_head: bool) -> Tensor:
        """Standard deviation of the noise on a tensor's weights."""
        bound = min(self.largest_variance, self.largest_head_variance) if in_head else self.largest_variance
        variance = self.alpha * (1 / (information + SMALLEST_INFORMATION)).clamp(max=bound)
        if variance.ndim > 1:
            variance = variance.mean(dim=1, keepdim=True).expand_as(variance)
        return variance * self.emphasis if in_head or variance.ndim == 1 else variance

    def information(self, work: Work) -> list[Tensor]:
        """Diagonal of the Fisher information of every trainable tensor, in evaluation mode."""
        parameters = work.trainable()
        total = [torch.zeros_like(parameter) for parameter in parameters]
        work.model.eval()
        some = work.retain
        if self.pictures is not None:
            some = some.take(torch.randperm(len(some), generator=work.generator("pictures"))[: self.pictures])
        count = 0
        for batch in work.batches_of(some, self.batch_size, "information"):
            count += 1
            log_p = work.task.logits_of(batch.pixels).log_softmax(-1)
            shares = log_p.detach().exp().mean(0)
            for label, share in enumerate(shares):
                gradients = torch.autograd.grad(log_p[:, label].mean(), parameters, retain_graph=True)
                for sum_, gradient in zip(total, gradients, strict=True):
                    sum_ += share * gradient.square()
            work.cost.passes += (1 + 2 * len(shares)) * len(batch.rows)
        return [sum_ / count for sum_ in total]
