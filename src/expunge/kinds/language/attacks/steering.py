"""A direction added to the hidden states: learnt from half of the facts, tried on the other half."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.order import Order
from expunge.kinds.language.attacks.attack import Attack, Side, tokens
from expunge.kinds.language.attacks.facts import batch_of, recall
from expunge.kinds.language.layers.decoder import hooked, plus
from expunge.kinds.language.task import CausalLM
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

DEPTHS = (0.25, 0.5)
"where the direction is added, as a share of the layers"
STEPS = 16
"steps of projected gradient (Casper et al. 2024, arXiv:2403.05030, take 6 to 16)"
RADIUS = 0.5
"length of the direction, at most, as a share of the usual length of the hidden states there (`usual_length`)"
BATCH = 8
"facts in a step"


class Steering(Attack):
    """A bounded perturbation of one layer's residual stream (Casper et al. 2024, arXiv:2403.05030), the same for all
    facts: one found for each fact separately could encode the answer for any model."""

    name = "latent"
    title = "Perturbed hidden states"
    sentence = (
        "The attack searches for one direction that, added to the hidden states of a layer, makes half of the facts "
        "most likely. The other half is asked for with it: that is too little to encode the answers, but it can "
        "switch a suppression off."
    )
    order = 50
    by_layer = True
    version = 2

    def pieces(self, side: Side) -> list[Piece]:
        given = [side.facts.every[i].taught for i in side.facts.given]
        trained = STEPS * min(BATCH, len(given)) * tokens(given) / max(1, len(given))
        read = float(tokens(side.asked(side.facts.held_back)))
        return [
            Piece(
                words=f"after layer {layer} of {side.layers}",
                work=Work(trained=trained, read=read, loaded=0 if place else 1),
            )
            for place, layer in enumerate(_depths(side.layers or 1))
        ]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task = side.fresh()
        task.model.requires_grad_(False)
        held_back = side.facts.held_back
        for number, layer in enumerate(_depths(len(task.layers))):
            side.show(number / len(DEPTHS), f"perturbing layer {layer}")
            direction = found_direction(task, side, layer)
            with added(task.layers[layer - 1], direction):
                values = recall(task, side.asked(held_back))
            yield Trial(setting=f"after layer {layer} of {len(task.layers)}", values=values, facts=held_back)


def _depths(layers: int) -> list[int]:
    """Numbers of layers, from 1, after which the direction is added."""
    return sorted({max(1, round(depth * layers)) for depth in DEPTHS})


def found_direction(task: CausalLM, side: Side, layer: int) -> Tensor:
    """(width,) the direction that makes the attacker's facts most likely, within the ball; by steps of projected
    gradient of a fifth of its radius."""
    rows = [side.facts.every[i].taught for i in side.facts.given]
    sample = batch_of(rows[:BATCH])
    with torch.no_grad():
        states = task.hidden(sample, layer)
    radius = RADIUS * usual_length(states, sample.lengths)
    direction = torch.zeros(states.shape[-1], device=task.device, requires_grad=True)
    order = Order(len(rows), min(BATCH, len(rows)), side.seed, "steering")
    for step in range(STEPS):
        with added(task.layers[layer - 1], direction):
            loss = task.nll(batch_of([rows[i] for i in order.batch(step)]))
        (gradient,) = torch.autograd.grad(loss, direction)
        if not torch.isfinite(gradient).all():
            break
        with torch.no_grad():
            direction -= radius / 5 * gradient / gradient.norm().clamp(min=1e-30)
            direction *= (radius / direction.norm().clamp(min=1e-30)).clamp(max=1.0)
    return direction.detach()


def usual_length(states: Tensor, lengths: Tensor) -> float:
    """The median norm of hidden states without each text's first token: models put unneeded attention there,
    in states that are a hundred times as long (Xiao et al. 2024, arXiv:2309.17453; Sun et al. 2024, arXiv:2402.17762).

    Args:
        states: (tokens, width) of texts one after the other.
        lengths: (texts,) tokens of each.
    """
    first = torch.zeros(len(states), dtype=torch.bool)
    first[lengths.cumsum(0)[:-1]] = True
    first[0] = True
    return float(states[~first.to(states.device)].norm(dim=-1).median())


def added(layer: nn.Module, direction: Tensor) -> Any:
    """Context in which the direction is added to a layer's output."""
    return hooked([layer.register_forward_hook(lambda _module, _inputs, output: plus(output, direction))])
