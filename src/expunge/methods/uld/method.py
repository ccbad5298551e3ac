"""ULD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from expunge.kinds.language.assistants import KEEPS, Difference, train_assistant
from expunge.methods.uld.assistants_loss import AssistantsLoss
from expunge.runs.method import Method, Needs

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork


class ULD(Method):
    r"""ULD, unlearning from logit difference, which keeps an assistant (Ji et al. 2024, arXiv:2406.08607).

    $$z = z_{\theta_0} - \alpha \, z_a$$

    $$L(a) = \frac{1}{|F|} \sum_{(x, y) \in F} -\log p_a(y \mid x)
          + \beta \, \frac{1}{|R|} \sum_{x \in R} \mathrm{KL}\left(u \,\|\, p_a(\cdot \mid x)\right), \qquad
      u(v) = \frac{1}{|V|}$$

    a is an assistant that is trained the other way round: it remembers the forget set, and is uniform on the
    rest. Its logits are subtracted from the model's at each token. It begins as the model's own first layers, with its
    embeddings, last norm and head, and only it is trained, so that a step costs a fraction of one of the whole model.

    **The model itself stays as it was: the saved base still holds what was forgotten, and anyone with the files has
    it.** What is saved is a folder `base`, a folder `assistant`, and `assistant.json`; each is a plain transformers
    model, and both together are what Expunge measures, audits and chats with. Other tools that load a model see a
    folder without one.

    The assistant acts only on likely tokens, as in the authors' code: those of at least `plausible` times the
    largest probability of the model, and in any case its likeliest `plausible` of the vocabulary. Together they keep
    the probability that they had, and every other token keeps its own (ours): what all logits of an assistant have in
    common has no meaning. In the authors' code the others keep their logits where likelihoods are measured, so that an
    assistant of logits 5 for every token would divide the odds of the likely ones by 55 (alpha 0.8), and are left out
    when text is written. Without `plausible` it is the formula.

    The authors train LoRA of rank 16 on 8 of 32 layers (`training.adapter_rank` 16; without it all of the assistant's
    weights are trained), at a learning rate of 1e-3, for 10 epochs. On TOFU their F holds paraphrases of each question,
    too, and their R wrong answers to the forgotten ones, which keeps the assistant to the facts: give both as data.
    Their second mean is over prompts and padding, too; here it is over labelled tokens. The first layers alone give
    poor predictions at first, and subtracting those spoils all text: few steps are worse than none. An assistant that
    in the end remembers less than the model does gets a notice.
    """

    weight: PositiveFloat = 0.8
    "alpha; 0.8 in the authors' script for TOFU, 0.5 to 0.7 for books, 1 in their configuration"
    plausible: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """share of the vocabulary that counts as likely; 0.01 in the authors' scripts, 0.1 in their configuration. 0: all
    of it"""
    retain_weight: NonNegativeFloat = 5.0
    "beta; 5 in the authors' configuration"
    layers: PositiveInt | None = None
    "of the assistant; null: a quarter of the model's, which are the authors' 8 of 32"

    needs: ClassVar[Needs] = Needs(retain="always", retain_labels=False, kinds=("causal_lm",))
    kept_beside: ClassVar[str | None] = KEEPS

    def apply(self, work: LanguageWork) -> None:
        loss = AssistantsLoss(retain_weight=self.retain_weight)
        train_assistant(work, loss, self.layers, Difference(self.weight, self.plausible))
