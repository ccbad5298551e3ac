"""Steering away from a direction, kept in the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.methods.base import Method, Needs
from expunge.tasks.names import is_named, layer_of

if TYPE_CHECKING:
    from expunge.engine.language_work import LanguageWork

NEWTON = 30
"rounds in which a probe is fitted"


class Steering(Method):
    r"""Ablation of a direction in each layer, from what the layer writes (Arditi et al. 2024, arXiv:2406.11717).

    $$W \leftarrow W - \lambda \, v_l v_l^\top W, \qquad b \leftarrow b - \lambda \, v_l v_l^\top b$$

    $$v_l \propto \arg\min_{w} \min_{c} \; \frac{1}{n} \sum_i \log\left(1 + e^{-y_i (w^\top h_{il} + c)}\right)
          + \frac{\rho}{2} \lVert w \rVert^2$$

    h is the mean hidden state of a block of forget (y = 1) or retain set (y = -1) after layer l, each coordinate brought to
    standard deviation 1 for the fit; W are the matrices through which layer l adds to the residual stream. The paper takes
    the difference of means for v and one direction for all layers; probes by layer are from inference-time intervention
    (Li et al. 2023, arXiv:2306.03341). Nothing is trained, and nothing has to be done at generation: the saved model is a
    plain one. What the layers below wrote before stays in the stream; only what these layers add loses the direction.
    """

    scale: PositiveFloat | None = 1.0
    "lambda; 1 takes the direction out whole; null: chosen among `scales`"
    scales: tuple[PositiveFloat, ...] = (0.25, 0.5, 0.75, 1.0, 1.5)
    "what is tried where no scale is given"
    perplexity_limit: NonNegativeFloat = 0.05
    "rise of the perplexity of clean text that a scale may cost, as a share"
    direction: Literal["probe", "means"] = "probe"
    "v: the probe's, or the difference of the sets' means"
    first_layer: NonNegativeInt = 0
    "the first layer that is changed, from 0"
    last_layer: NonNegativeInt | None = None
    "the last one; the model's last where absent"
    blocks: PositiveInt = 256
    "at most so many blocks of each set are looked at"
    ridge: PositiveFloat = 0.1
    "rho, of the probe's fit"
    weights: str = r"(o_proj|out_proj|down_proj|fc2|dense_4h_to_h)\.(weight|bias)$"
    "W and b, as a regular expression of their names"

    needs: ClassVar[Needs] = Needs(retain="always", kinds=("causal_lm",))

    def apply(self, work: LanguageWork) -> None:
        base = work.weights()
        found = work.kept("directions", lambda: {"directions": self.directions(work)})["directions"]

        def put(scale: float) -> None:
            work.put({name: self.without(name, weight, found, scale) for name, weight in base.items()})

        put(work.choose(self.scales, put, self.perplexity_limit) if self.scale is None else self.scale)

    def directions(self, work: LanguageWork) -> Tensor:
        """(layers, width) a direction of length 1 for each layer, from clean to toxic."""
        assert work.retain is not None
        toxic, clean = (work.states(table, self.blocks) for table in (work.forget, work.retain))
        if self.direction == "means":
            found = toxic.mean(0) - clean.mean(0)
        else:
            found = torch.stack([probe(toxic[:, at], clean[:, at], self.ridge) for at in range(toxic.shape[1])])
        return torch.nn.functional.normalize(found.float(), dim=1)

    def without(self, name: str, weight: Tensor, directions: Tensor, scale: float) -> Tensor:
        layer, last = layer_of(name), len(directions) - 1 if self.last_layer is None else self.last_layer
        if layer is None or not self.first_layer <= layer <= last or not is_named(name, self.weights):
            return weight
        direction = directions[layer].to(weight)
        along = direction @ weight  # (in,) of a matrix, a number of a bias
        return weight - scale * (torch.outer(direction, along) if weight.dim() == 2 else direction * along)


def probe(toxic: Tensor, clean: Tensor, ridge: float) -> Tensor:
    """(width,) the weights of a logistic regression that tells `toxic` from `clean` (n, width), by Newton's method."""
    points = torch.cat([toxic, clean]).double()
    label = torch.cat([torch.ones(len(toxic)), torch.zeros(len(clean))]).double()
    spread = points.std(0, correction=0).clamp(min=1e-12)
    inputs = torch.cat([(points - points.mean(0)) / spread, torch.ones(len(points), 1).double()], 1)
    penalty = torch.full((inputs.shape[1],), ridge).double()
    penalty[-1] = 1e-9
    weight = torch.zeros(inputs.shape[1]).double()
    for _ in range(NEWTON):
        said = (inputs @ weight).sigmoid()
        gradient = inputs.T @ (said - label) / len(points) + penalty * weight
        curvature = inputs.T @ (inputs * (said * (1 - said))[:, None]) / len(points) + torch.diag(penalty)
        step = torch.linalg.solve(curvature, gradient)
        weight = weight - step
        if step.abs().max() < 1e-10:
            break
    return weight[:-1] / spread
