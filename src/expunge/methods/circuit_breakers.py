from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch.nn.functional as F
from annotated_types import Len
from pydantic import PositiveFloat, PositiveInt

from expunge.ops.names import layer_of
from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import LayeredTask, Loss, Step

ASIDE = 0.01
"random offset of the reference states, as a share of their length; it lowers the cosine by 5e-5"


class CircuitBreakers(Method):
    r"""Circuit breakers by representation rerouting (RR; Zou et al. 2024, arXiv:2406.04313, section 3).

    $$L = \alpha \left(1 - \tfrac{s}{2}\right) \frac{1}{|\Lambda|\,|F|} \sum_{l \in \Lambda} \sum_{t \in F}
          \max\left(0, \cos\left(h_\theta^l(t), h_{\mathrm{ref}}^l(t)\right)\right)
          + \alpha \, \tfrac{s}{2} \, \frac{1}{|\Lambda|\,|R|} \sum_{l \in \Lambda} \sum_{t \in R}
          \left\lVert h_\theta^l(t) - h_{\mathrm{ref}}^l(t) \right\rVert_2$$

    h are the hidden states after l layers, of every token, and s the share of the steps that are done. On the forget
    set they are turned until they are orthogonal to the original's; on the retain set they stay. The first weight falls
    from alpha to half of it while the second rises from 0 to half. All weights of the layers up to the last of `layers`
    are trained, or an adapter on them, and no layer above is run. The loss changes from step to step:
    `training.stop_step` ends it early, while `training.max_steps` makes s rise faster.

    At the original model the first term would be highest, and flat: rounding alone would decide the first steps, which
    Adam makes as long as any other. In the authors' code it does, with the dropout of their adapter (0.05). Here the
    forget set's h_ref are offset at random by a hundredth of their length, drawn by the seed (ours), so that it begins
    in a known direction.

    The authors train an adapter of rank 16 for 150 steps, and take the retain term over the states after every layer,
    embeddings too; here it is over the same layers as the other. Their code was not available: statements about it are
    from copies.
    """

    layers: Annotated[tuple[PositiveInt, ...], Len(1)] = (10, 20)
    "layers after which hidden states are taken; 10 and 20 of 32 in the authors' runs"
    alpha: PositiveFloat = 10.0
    "10 for Llama 3 8B in the authors' runs, 5 for Mistral 7B"

    needs: ClassVar[Needs] = Needs(retain="always", retain_labels=False, kinds=("causal_lm",))

    @property
    def scheduled(self) -> bool:
        return True

    def wants(self) -> Sequence[Wanted]:
        forget = {"layers": self.layers, "aside": ASIDE}
        return [("forget_layer_states", forget), ("retain_layer_states", {"layers": self.layers})]

    def trains(self, name: str) -> bool:
        """By name alone, without a model to inspect."""
        return (layer := layer_of(name)) is not None and layer < max(self.layers)

    def found_in(self, task: LayeredTask) -> set[str]:
        """The weights of the layers that are run, in this model."""
        named = ((name, task.layer_of(name)) for name, _ in task.model.named_parameters())
        return {name for name, layer in named if layer is not None and layer < max(self.layers)}

    def loss(self, step: Step) -> Loss:
        states = step.hidden_at(step.forget, self.layers)
        like = F.cosine_similarity(states, step.signal("forget_layer_states").to(states), dim=-1).relu().mean(1)
        forget = self.alpha * (1 - step.progress / 2) * step.token_mean(step.forget, like)
        forget = step.before_next(forget)
        states = step.hidden_at(step.retain, self.layers)
        moved = (states - step.signal("retain_layer_states").to(states)).norm(dim=-1).mean(1)
        return Loss(forget=forget, retain=self.alpha * step.progress / 2 * step.token_mean(step.retain, moved))
