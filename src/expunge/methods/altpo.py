from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from expunge.methods.dpo import DPO
from expunge.runs.method import Wanted


class AltPO(DPO):
    r"""AltPO, alternate preference optimisation (Mekala et al. 2024, arXiv:2409.13474).

    $$L = -\frac{2}{\beta} \, \frac{1}{|F|} \sum_{(x, y) \in F} \frac{1}{k} \sum_{j=1}^{k} \log \sigma\!\left(\beta \log
          \frac{p_\theta(y'_j \mid x)}{p_{\mathrm{ref}}(y'_j \mid x)} - \beta \log
          \frac{p_\theta(y \mid x)}{p_{\mathrm{ref}}(y \mid x)}\right)
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x), \qquad
          y'_j \sim p_{\mathrm{ref}}(\cdot \mid x, y, \text{instruction})$$

    `dpo` with k alternative answers instead of the wanted text, which the base model writes itself before training: it
    is shown the question and its answer, and asked for another answer with other facts. What follows the question is
    then still a sentence of the same kind, unlike a refusal. In the authors' code each of the k = 5 pairs is an example
    of its own and an epoch is five times as long; here they share the pass of y, and a step has k + 1 texts an example.
    The instruction is ours, and is given in a turn of its own. It needs questions and answers: blocks of plain text are
    not trained on. A model that is too small to follow the instruction writes poor alternatives: read them first.
    """

    beta: PositiveFloat = 0.1
    "inverse temperature; 0.1 of OpenUnlearning's grid of 0.05, 0.1 and 0.5"
    alternatives: PositiveInt = 5
    "k: answers that the base model writes to each question; 5 in the authors' code"
    alternative_tokens: PositiveInt = 112
    "most tokens of such an answer; 200 in the authors' code"
    retain_weight: NonNegativeFloat = 2.0
    "alpha; 2 of OpenUnlearning's grid of 1, 2 and 5, with a learning rate of 5e-5"
    retain_target: Literal["text", "base"] = "text"
    "labels of R: its own text, or the base model's outputs"

    wanted: ClassVar[str] = "alternatives"
    factor: ClassVar[float] = 2.0

    def wants(self) -> Sequence[Wanted]:
        settings = {"count": self.alternatives, "tokens": self.alternative_tokens}
        return "reference_nll", ("alternatives", settings), ("alternatives_reference_nll", settings)
