from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from expunge.kinds.language.targets import GuidedTargets
from expunge.ops.divergences import row_divergence
from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step


class ELM(Method):
    r"""Erasure of language memory (ELM; Gandikota et al. 2024, arXiv:2410.02760).

    $$L = \frac{1}{|F|} \sum_{t \in F} \mathrm{KL}\left(q_t \,\|\, p_\theta(\cdot \mid x_{<t})\right)
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)
          + \phi \, \frac{1}{n} \sum_{z} \frac{-\log p_\theta(z)}{|z|}$$

    $$q_t(v) \propto p_{\mathrm{ref}}(v \mid x_{<t}) \left(\frac{p_{\mathrm{ref}}(v \mid c_-, x_{<t})}
      {p_{\mathrm{ref}}(v \mid c_+, x_{<t})}\right)^{\eta_t}$$

    The model itself knows what belongs to a concept: with an expert's introduction $c_+$ before a text it says more of
    it than with a novice's $c_-$. On the forget set the erased model learns the shift from the first to the second,
    on the retain set the original's outputs, and after the beginnings of the forget set some fluent text z, drawn from
    such distributions of the original, which begins by changing the subject. Where we have the KL divergence, the paper
    has the cross-entropy, the same up to a constant. Targets and z are made once, before training.

    The paper has one $\eta$. As in the authors' code it rises along a text, from `first_strength` at its first to
    `strength` at its last token, the logits are divided by `temperature`, and q has only its `top_k` likeliest tokens.
    So with the defaults, the code's, q is narrow: at an eta of 1000 a hundredth of a nat counts for ten.
    `first_strength` 1, `strength` 1, `temperature` 1 and no `top_k` are the paper's form with $\eta$ = 1. On the retain
    set the code takes the original's likeliest token, by default; here, as in the paper, it is the whole distribution
    (`retain_target`), drawn from as elsewhere. In the code the introductions are drawn from ten each, and z is guided
    by them without the text before it; here there is one each, before the whole text. The authors train an adapter
    (rank 8, alpha 16 in the code's default, of layers 4 to 7): `training.adapter_rank`.
    """

    concept: str = "this subject"
    "what to erase, in words: replaces {concept} below"
    expert: str = "This text was written by a leading expert on {concept}, who tells all that there is to know:\n"
    "the expert's introduction; words ours"
    novice: str = "This text was written by somebody who has never heard of {concept}:\n"
    "the novice's introduction; words ours"
    first_strength: NonNegativeFloat = 1.0
    "eta at the first labelled token of a block; 1 in the authors' code"
    strength: NonNegativeFloat = 1000.0
    "eta at the last one; 1000 in the authors' code"
    temperature: PositiveFloat = 1.2
    "divisor of the logits for the targets; 1.2 in the authors' code"
    top_k: PositiveInt | None = 50
    "tokens of each target; 50 in the authors' code; null: the whole vocabulary"
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 in the authors' code"
    retain_target: Literal["text", "base"] = "base"
    "labels of R: its own text, or the base model's outputs"
    fluency_weight: NonNegativeFloat = 1.0
    "phi; 1 in the authors' code. 0: no such text is written"
    opening: str = ". This is not worth talking about; let us turn to something else that is more fun. "
    "how z begins; words ours"
    guidance: NonNegativeFloat = 3.0
    "strength with which z is drawn; 3 in the authors' code"
    fluency_tokens: PositiveInt = 64
    "tokens drawn for each z, at most; 100 to 300 in the authors' code"

    needs: ClassVar[Needs] = Needs(retain="weighted", kinds=("causal_lm",))

    def wants(self) -> Sequence[Wanted]:
        texts = {name: getattr(self, name).replace("{concept}", self.concept) for name in ("expert", "novice")}
        targets = GuidedTargets(
            **texts,
            first_strength=self.first_strength,
            strength=self.strength,
            temperature=self.temperature,
            top_k=self.top_k,
        )
        fluent = texts | {"opening": self.opening, "guidance": self.guidance, "tokens": self.fluency_tokens}
        return [targets, *([("fluent_text", fluent)] if self.fluency_weight > 0 else [])]

    def loss(self, step: Step) -> Loss:
        forget = step.row_mean(step.forget, step.against_original(step.forget, row_divergence))
        if self.fluency_weight > 0:
            fluent = step.signal("fluent_text")
            each = step.example_nll(fluent) / step.example_rows(fluent).clamp(min=1)
            forget = forget + self.fluency_weight * step.mean(fluent, each)
        return self.with_retain(step, forget)
