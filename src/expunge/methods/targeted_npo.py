from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step

if TYPE_CHECKING:
    from expunge.kinds.language.signals.unwanted_mass import UnwantedSaid


class TargetedNPO(Method):
    r"""NPO on unwanted words, preservation of the words around them (after Zhou et al. 2025, arXiv:2506.03142).

    $$L = \frac{1}{|F|} \sum_{(x, y) \in F} \left\{\begin{array}{ll}
          -\frac{2}{\beta} \log \sigma\!\left(-\beta \log \frac{p_\theta(y \mid x)}{p_{\mathrm{ref}}(y \mid x)}\right)
          & \text{if } w_y \ge m \\
          -\kappa \sum_v p_{\mathrm{ref}}(v \mid x) \log p_\theta(v \mid x) & \text{otherwise} \end{array}\right\}
          + \alpha \, \ell_R$$

    $$w = \arg\min_w \min_b \sum_i c_i \log\left(1 + e^{-s_i (\sum_{v \in i} w_v + b)}\right)
          + \tfrac{1}{2} \lVert w \rVert^2$$

    A token is unwanted as part of a word that marks texts to forget, by the word's weight w in a logistic
    regression over all texts i, of the forget set (s = 1) and the retain set (s = -1), both weighted equally by c. The
    words around an insult get no weight, since the insult explains them; and names of groups of people are never
    unwanted. Of an unwanted word's tokens those count that occur in such words at least as often as in others: the
    first token of many insults also begins harmless words. Each unwanted token is pushed down in its place by NPO, with
    a token as an example; everywhere else, in the forget set too, the model keeps its outputs. So the two sets should
    be alike except for what is to be forgotten. The paper finds unwanted words with a language model, and compares
    logits instead of likelihoods. The words and their weights are in the run folder,
    `stages/unwanted-words-*/words.json`.

    With `push: vocabulary`, which is ours, not only the unwanted token of a text is pushed down, but in every
    place where the base model might produce one, all of them together:

    $$L = \frac{1}{|F|} \sum_{(x, y) \in F} \left( -\gamma \, [q_{\mathrm{ref}}(x) \ge \mu] \, \frac{2}{\beta}
          \log \sigma\!\left(-\beta \log \frac{q_\theta(x)}{q_{\mathrm{ref}}(x)}\right)
          - \kappa \sum_{v \notin U} \frac{p_{\mathrm{ref}}(v \mid x)}{1 - q_{\mathrm{ref}}(x)}
          \log p_\theta(v \mid x) \right) + \alpha \, \ell_R, \qquad q(x) = \sum_{v \in U} p(v \mid x)$$

    U are the tokens that occur in unwanted words at least as often as in others, and at least three times.
    """

    push: Literal["words", "vocabulary"] = "words"
    "what is pushed down: the unwanted words in the texts, or, in each place, all unwanted tokens that might occur"
    push_weight: NonNegativeFloat = 0.3
    "gamma, of the push on the vocabulary; as tried on toxic speech"
    least_mass: PositiveFloat = 0.005
    "mu: probability of the unwanted vocabulary, to the base model, from which it is pushed down in a place"

    beta: PositiveFloat = 0.5
    "inverse temperature; of a token, whose log ratios are smaller than a text's, for which NPO has 0.1"
    mark: PositiveFloat = 0.4
    "m: weight from which a word is unwanted; 0.4 makes the odds of a text's being one to forget 1.5 times as large"
    keep_weight: NonNegativeFloat = 0.35
    "kappa, of the other tokens of the forget set"
    retain_weight: NonNegativeFloat = 0.4
    "alpha, of the retain set"
    retain_target: Literal["text", "base", "both"] = "both"
    "labels of R: its own text, or the base model's outputs; both: half of each"

    needs: ClassVar[Needs] = Needs(retain="weighted", kinds=("causal_lm",))

    def wants(self) -> Sequence[Wanted]:
        said = ("unwanted_mass", {"mark": self.mark}) if self.push == "vocabulary" else "reference_tokens"
        return [said, ("unwanted_words", {"mark": self.mark})]

    def loss(self, step: Step) -> Loss:
        rows = step.rows(step.forget)
        log_p = rows.logits.log_softmax(-1)
        if self.push == "vocabulary":
            terms = self.on_vocabulary(log_p, step.signal("unwanted_mass"))
            return self.with_retain(step, step.row_mean(step.forget, terms))
        log_ratio = log_p.gather(1, rows.target[:, None])[:, 0] + step.signal("reference_tokens").nll
        away = self.away(log_ratio)
        kept = rows.cross_entropy(log_p)
        unwanted = step.signal("unwanted_words") >= self.mark
        forget = step.row_mean(step.forget, torch.where(unwanted, away, self.keep_weight * kept))
        return self.with_retain(step, forget)

    def away(self, log_ratio: Tensor) -> Tensor:
        """(rows,) NPO of log ratios (rows,)."""
        return -2 / self.beta * F.logsigmoid(-self.beta * log_ratio)

    def on_vocabulary(self, log_p: Tensor, base: UnwantedSaid) -> Tensor:
        """(rows,) the loss of each place, from log-probabilities (rows, vocabulary)."""
        log_mass = log_p[:, base.tokens].logsumexp(-1)
        pushed = base.mass >= self.least_mass
        away = self.away(log_mass - torch.where(pushed, base.mass, 1.0).log())
        kept = self.keep_weight * base.said.cross_entropy(log_p)
        return kept + torch.where(pushed, self.push_weight * away, 0.0)
