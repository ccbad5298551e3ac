"""Who's Harry Potter?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step


class WhosHarryPotter(Method):
    r"""Fine-tuning on generic predictions (Eldan and Russinovich 2023, "Who's Harry Potter?", arXiv:2310.02238).

    At every position of the target, what would a model predict that never read it? With the logits of the base model on
    the text whose anchored terms are translated, and those of the reinforced model on the original (equation 1):

    $$v_{generic} = v_{base}(translated) - \alpha \, \mathrm{ReLU}\big(v_{reinforced}(original) -
    v_{base}(translated)\big)$$

    and the label is $\arg\max v_{generic}$. The base model is then fine-tuned on the original tokens with these labels:

    $$L = -\frac{1}{|F|} \sum_t \log p_\theta(\mathrm{label}_t \mid x_{<t})
          \; [\, + \, w \, \frac{1}{|R|} \sum_R -\log p_\theta(y \mid x)]$$

    Labels are made once, before training (`expunge.methods.whos_harry_potter.labels`), so a step is ordinary
    fine-tuning with one forward pass. The retain term is not in the paper; `retain_weight` 0 is the paper's loss.
    """

    alpha: NonNegativeFloat = 5.0
    """strength of the correction by the reinforced model; 5 in the paper, section 2. A text known by heart needs more, some
    200: the two models then differ by hundredths of a nat there"""
    form: Literal["paper", "split"] = "paper"
    "what the reinforced model is compared with: the base on the translated text (paper) or on the original (split)"
    normalise: bool = True
    """compare log-probabilities: logits have an arbitrary constant at each position, which the ReLU would take for
    meaning"""
    top_k: NonNegativeInt = 0
    "0: hard labels (paper); k: soft labels, the k likeliest tokens of softmax(v_generic), renormalised"
    translation_penalty: NonNegativeFloat = 10.0
    "how far the logits of a translation already seen in the block are lowered, in nats (paper: lowered, no figure)"
    retain_weight: NonNegativeFloat = 1.0
    "weight of the retain loss; 0 is the paper's form, which has none"
    retain_target: Literal["text", "base"] = "base"
    "target of the retain loss: the text itself, or the base model's prediction there (KL)"

    needs: ClassVar[Needs] = Needs(retain="weighted", kinds=("causal_lm",))

    def wants(self) -> Sequence[Wanted]:
        from expunge.methods.whos_harry_potter.stages import GenericLabels  # transformers is slow to import

        return [GenericLabels(self)]

    def loss(self, step: Step) -> Loss:
        forget = step.nll(step.forget)
        return self.with_retain(step, forget)
