from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat

from expunge.runs.method import Needs
from expunge.runs.wrapping import Wrapping

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork


class Repair(Wrapping):
    r"""Impair and repair (phases of UNSIR, Tarun et al. 2021, arXiv:2111.08947), with any method, and distillation as repair.

    $$\theta_u = U(\theta_0), \qquad
      \min_\theta \; \frac{1}{n} \sum_{t \in R} \mathrm{KL}\left(p_{\theta_0}(\cdot \mid x_{<t}) \,\|\,
      p_\theta(\cdot \mid x_{<t})\right) \quad \text{from } \theta = \theta_u$$

    U is any method, and may do more damage than one would accept: the distillation takes most of it back. It sees no text of
    the forget set, so what U removed from the weights stays removed. UNSIR, which is for classifiers, repairs with the labels
    of the retain set; to distil the original model is ours, and so are all defaults. With it `repselect` may move farther,
    and leaves the retain set better than without (`docs/results.md`, audited methods).

    The distributions are whole, at the n labelled tokens of the retain set. The teacher is a copy of the original model: it
    is held in memory next to the one that is trained, and runs in every step. Batches, warm-up and decay of the learning rate
    are as the recipe's `training` says. Damage that the retain set does not show is not repaired.
    """

    of: str | dict[str, Any] = "repselect"
    "the method U: its name, or its name and hyper-parameters"
    learning_rate: PositiveFloat = 2e-5
    "highest learning rate of the distillation; ours"
    steps: NonNegativeInt = 40
    "optimizer steps of the distillation, at most; ours. 0: no distillation, the model as U left it"
    recovered: NonNegativeFloat = 0.02
    "stop after the first step whose KL divergence is at most this, in nats a token; ours. 0: all steps"

    needs: ClassVar[Needs] = Needs(retain="always", retain_labels=False, kinds=("causal_lm",))

    def apply(self, work: LanguageWork) -> None:
        teacher = work.frozen() if self.steps else None
        self.unlearn_once(work)
        if teacher is not None:
            work.distil(teacher, self.steps, self.learning_rate, self.recovered)
