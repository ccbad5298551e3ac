from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveInt

from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step


class MEOW(Method):
    r"""MEOW, memory-supervised unlearning by inverted facts (Gu et al. 2024, arXiv:2409.11844).

    $$L = \frac{1}{n} \sum_{(x, \tilde y)} \frac{-\log p_\theta(\tilde y \mid x)}{|\tilde y|}
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    $$\mathrm{MEMO}(x, \tilde y) = \frac{1}{|C|} \sum_{c \in C} \mathrm{ROUGE}_1\left(
      \arg\max p_{\mathrm{ref}}(\cdot \mid x, \tilde y_{<c}),\; \tilde y_{\ge c}\right)$$

    Plain fine-tuning, without gradient ascent, on texts that contradict those to forget. Of the inverted texts of each
    fact the `top` with the smallest (or largest) MEMO are taken: how much of such a text the original model says by
    itself, from each of the cuts C on. n are the chosen texts; each counts the same (in the code each token of a batch
    does).

    It needs pairs: a text to forget and the inverted one as the wanted text, as for dpo; rows with the same text to
    forget are one fact. The authors have GPT-4 write four or more inverted answers a question. In their code MEMO cuts
    every five characters, generates 200 tokens, and takes ROUGE-1 of stemmed words, by precision; here it is of tokens,
    every `stride`, and no longer than the text. If no fact has more than `top` texts, MEMO is not needed and not
    computed. Their plain loss has no retain set (alpha 0).
    """

    top: PositiveInt = 3
    "inverted texts of each fact; 3 in the authors' code"
    order: Literal["smallest", "largest"] = "smallest"
    "of which MEMO they are; smallest in the authors' code"
    stride: PositiveInt = 5
    "tokens from one cut to the next; 5 characters in the authors' code"
    length: PositiveInt = 64
    "tokens that are compared after each cut, at most; 200 in the authors' code"
    retain_weight: NonNegativeFloat = 0.0
    "alpha; 0 in the paper"
    retain_target: Literal["text", "base"] = "text"
    "labels of R: its own text, or the base model's outputs"

    needs: ClassVar[Needs] = Needs(retain="weighted", kinds=("causal_lm",))

    def wants(self) -> Sequence[Wanted]:
        fields = {name: getattr(self, name) for name in ("top", "order", "stride", "length")}
        return [("inverted_facts", fields)]

    def loss(self, step: Step) -> Loss:
        inverted = step.signal("inverted_facts")
        each = step.example_nll(inverted) / step.example_rows(inverted).clamp(min=1)
        forget = step.mean(inverted, each)
        return self.with_retain(step, forget)
