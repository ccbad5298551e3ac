from __future__ import annotations

from torch import Tensor

from expunge.runs.wrapping import WrappingLoss
from expunge.train.step import Loss, Step


def entropy(log_p: Tensor) -> Tensor:
    """(rows,) in nats, of log-probabilities (rows, classes)."""
    return -(log_p.exp() * log_p).sum(-1)


class EntropyTerm(WrappingLoss):
    r"""A term of the output's entropy, added to any loss (Scholten, Günnemann and Schwinn 2025, arXiv:2410.03523).

    $$L = L_U + \lambda_F \, \frac{1}{|F|} \sum_{t \in F} H(p_\theta(\cdot \mid x_{<t}))
          + \lambda_R \, \frac{1}{|R|} \sum_{t \in R} H(p_\theta(\cdot \mid x_{<t})), \qquad
      H(p) = -\sum_v p(v) \log p(v)$$

    What greedy decoding does not show may still be sampled. A model whose distributions on the forget set are narrow,
    about something else, says the same every time: what one sample does not show, the next does not show either. The
    retain set's term, with a negative $\lambda_R$, keeps its distributions from narrowing. $L_U$ is the loss of any
    method.

    The authors' code takes both entropies over all positions of a batch, the prompt's and the padding's too; here they
    are over labelled tokens. Each set with a term runs through the model once more.
    """

    forget_entropy: float = 1.0
    "lambda_F; 1 in the authors' settings; above 0 it narrows the outputs"
    retain_entropy: float = -0.25
    "lambda_R; -0.25 in the authors' settings, with NPO (beta 0.05) and with gradient difference"

    @property
    def draws_retain(self) -> bool:
        return self.wrapped.draws_retain or self.retain_entropy != 0

    def loss(self, step: Step) -> Loss:
        found = super().loss(step)
        forget, retain = found.forget, found.retain
        assert forget is not None
        if self.forget_entropy:
            forget = forget + self.forget_entropy * step.row_mean(step.forget, step.row_values(step.forget, entropy))
        if self.retain_entropy:
            more = self.retain_entropy * step.row_mean(step.retain, step.row_values(step.retain, entropy))
            retain = more if retain is None else retain + more
        return Loss(forget=forget, retain=retain)
