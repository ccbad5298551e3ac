from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.errors import ModelError
from expunge.ops.names import is_named, layer_of
from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import LayeredTask, Loss, Step


class RMU(Method):
    r"""Representation misdirection for unlearning (Li et al. 2024, arXiv:2403.03218, section 4).

    $$L = \frac{1}{d\,|F|} \sum_{t \in F} \left\lVert h_\theta(t) - c \, u \right\rVert_2^2
          + \alpha \, \frac{1}{d\,|R|} \sum_{t \in R} \left\lVert h_\theta(t) - h_{\mathrm{ref}}(t) \right\rVert_2^2$$

    h is the hidden state (d wide) at a token t after `layer` layers, and u one random direction of length 1,
    drawn once. Only these layers are run, and only the last matrix of the MLPs (of experts too) of the last
    `trained_layers` of them is trained: it is found by testing through which matrices each layer adds to the residual
    stream; a layer without an MLP (Mamba) trains what it has. The authors' code counts from 0: its layer_id i is the
    output of `layers[i]`, here `layer` i + 1. Like that code, and unlike the formula, it takes the mean over the width
    too. Padding is left out; there it counts.
    """

    layer: PositiveInt = 8
    "number of layers before hidden states are taken; 8 is the paper's layer_id 7, counted from 0, of 32"
    trained_layers: PositiveInt = 3
    "how many of these are trained, counted from the last; 3 in the paper's runs: 5, 6 and 7, counted from 0"
    weights: str | None = None
    """which of their weights, as a regular expression of names; null: the MLPs' last matrices, which the paper's runs
    train"""
    steering: PositiveFloat = 20.0
    "c; 20 in the paper's first runs, 6.5 in its last. It should be about the length of the hidden states"
    retain_weight: NonNegativeFloat = 100.0
    "alpha; 100 in the authors' scripts"
    direction_seed: NonNegativeInt = 0
    "decides u"

    needs: ClassVar[Needs] = Needs(retain="weighted", retain_labels=False, kinds=("causal_lm",))

    def wants(self) -> Sequence[Wanted]:
        return [("hidden_states", {"layer": self.layer})]

    def trains(self, name: str) -> bool:
        """By name alone, without a model to inspect: `weights`, or Llama's names."""
        return self._trains(layer_of(name), name)

    def _trains(self, layer: int | None, name: str) -> bool:
        inside = layer is not None and self.layer - self.trained_layers <= layer < self.layer
        return inside and is_named(name, self.weights or r"mlp\.down_proj\.weight$")

    def found_in(self, task: LayeredTask) -> set[str]:
        """Names of the weights to train in this model.

        Raises:
            ModelError: none of the layers has a matrix that is added to the residual stream.
        """
        if self.weights is not None:
            names = [name for name, _ in task.model.named_parameters()]
            return {name for name in names if self._trains(task.layer_of(name), name)}
        layers = range(max(0, self.layer - self.trained_layers), min(self.layer, len(task.layers)))
        found = {writer.name for layer in layers for writer in task.structure().outputs(layer)}
        if not found and layers:
            raise ModelError(
                f"no matrix of layers {layers[0]} to {layers[-1]} of {type(task.model).__name__} adds to the residual "
                "stream as it is",
                seen="a gate, a scale by channel or a convolution after each",
                next_step=r"name the weights to train: --method.weights 'mlp\.down_proj\.weight$'",
            )
        return found

    def direction(self, width: int) -> Tensor:
        """(width,) u: uniform from [0, 1) in every coordinate, normalised to length 1, as the authors draw it."""
        drawn = torch.rand(width, generator=torch.Generator().manual_seed(self.direction_seed))
        return drawn / drawn.norm()

    def target(self, step: Step, hidden: Tensor) -> Tensor:
        """Target of the forget set's hidden states (tokens, width), (width,) or (tokens, width)."""
        return self.steering * self.direction(hidden.shape[1]).to(hidden)

    def loss(self, step: Step) -> Loss:
        hidden = step.hidden(step.forget, self.layer)
        away = (hidden - self.target(step, hidden)).square().mean(1)
        forget = step.token_mean(step.forget, away)
        if not self.draws_retain:
            return Loss(forget=forget)
        forget = step.before_next(forget)
        moved = step.hidden(step.retain, self.layer) - step.signal("hidden_states")
        return Loss(
            forget=step.before_next(forget),
            retain=self.retain_weight * step.token_mean(step.retain, moved.square().mean(1)),
        )
