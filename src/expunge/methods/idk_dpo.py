from __future__ import annotations

from typing import ClassVar, Literal

from expunge.methods.dpo import DPO
from expunge.runs.method import Wanted


class IdkDPO(DPO):
    r"""IdkDPO: refusals preferred to answers (Maini et al. 2024, arXiv:2401.06121; Rafailov et al. 2023, arXiv:2305.18290).

    $$L = -\frac{2}{\beta} \, \frac{1}{|F|} \sum_{(x, y) \in F} \log \sigma\!\left(\beta \log
          \frac{p_\theta(y_{\mathrm{idk}} \mid x)}{p_{\mathrm{ref}}(y_{\mathrm{idk}} \mid x)} - \beta \log
          \frac{p_\theta(y \mid x)}{p_{\mathrm{ref}}(y \mid x)}\right)
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    `dpo` with a refusal as the wanted text: it needs no pairs, but questions and answers: blocks of
    plain text are not trained on. Fifty refusals come with Expunge; one is drawn for each question by the seed, and
    kept (in OpenUnlearning another one is drawn each epoch). The factor 2 is OpenUnlearning's, for which its weights of
    the retain set were chosen.
    """

    retain_target: Literal["text", "base"] = "text"
    "labels of R: its own text, as in OpenUnlearning, or the base model's outputs"

    signals: ClassVar[tuple[Wanted, ...]] = ("reference_nll", "refusals", "refusals_reference_nll")
    wanted: ClassVar[str] = "refusals"
    factor: ClassVar[float] = 2.0
