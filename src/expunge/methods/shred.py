from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeInt

from expunge.kinds.language.targets import DemotedTargets
from expunge.ops.divergences import row_divergence
from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step


class SHRED(Method):
    r"""SHRED, self-distillation with logit demotion and without a retain set (Hu et al. 2026, arXiv:2605.07482).

    $$L = \frac{1}{|F|} \sum_{t \in F} \mathrm{KL}\left(q_t \,\|\, p_\theta(\cdot \mid x_{<t})\right), \qquad
      q_t(v) = \frac{p_{\mathrm{ref}}(v \mid x_{<t}) \, [v \notin V_t]}{\sum_{w \notin V_t} p_{\mathrm{ref}}(w \mid
      x_{<t})}$$

    $$V_t = \{x_t\} \cup \mathrm{nucleus}_\pi(p_{\mathrm{ref}}(\cdot \mid x_{<t})) \;\; \text{for } t \in S, \qquad
      V_t = \emptyset \;\; \text{otherwise}$$

    S are the `share` of each text's labelled tokens that the original model finds least likely: they carry what is
    known only from this text. There the target is the original's output without the text's token; everywhere else, the
    original's output. So the other tokens of the forget set take the place of a retain set. v and w run over the
    original's `top_k` likeliest tokens. A nucleus is the smallest set of likeliest tokens with the mass $\pi$; with
    $\pi$ = 0 the text's token alone is removed (the authors' variant A; with a nucleus, variant B). If the nucleus
    would take all of the top tokens, the last one stays (ours).

    Formula and selection are those of the figure on the authors' page, in which the loss is a sum over tokens, here the
    mean. Code and the paper's settings were not available: all defaults are ours. The first labelled tokens of each
    text are not demoted with `skip`; prompts have no labels and are left out anyway. The targets are made once, before
    training.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    "P, the share of each block's labelled tokens that are demoted, rounded up; ours"
    top_k: Annotated[int, Field(ge=2)] | None = 100
    "K, tokens of each target; null: the whole vocabulary; ours"
    nucleus: Annotated[float, Field(ge=0, lt=1)] = 0.0
    "pi, mass of the likeliest tokens removed in addition to the text's; 0 is the authors' variant A"
    skip: NonNegativeInt = 0
    "labelled tokens at the beginning of each block that are never demoted; ours"

    needs: ClassVar[Needs] = Needs(kinds=("causal_lm",))

    def wants(self) -> Sequence[Wanted]:
        return [DemotedTargets(self.share, self.top_k, self.nucleus, self.skip)]

    def loss(self, step: Step) -> Loss:
        return Loss(forget=step.row_mean(step.forget, step.against_original(step.forget, row_divergence)))
