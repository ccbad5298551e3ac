"""A model with gated adapters: each acts as far as the text is similar to its forget set.

The model reads a text twice: without adapters, which gives each adapter's weight at each token, and with them. A
token's weight comes from the tokens that it attends to, itself included, so that keys and values can be cached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from expunge.errors import ModelError
from expunge.models.assistant import CACHES, BothCaches, cache_in
from expunge.models.detector import Detector

BESIDE = "gated_adapters"
"name of the gate within its model"
KIND = "gated adapters"
KEEPS = "keeps its adapters apart: the saved base still holds what was forgotten"
"the note for every reader of such a model's results"


class GatedAdapter(nn.Module):
    """One adapter with its detector.

    Args:
        matrices: (A (rank, inputs), B (outputs, rank)) of each linear layer, by the layer's name.
        scale: factor of B A.
    """

    def __init__(self, matrices: Mapping[str, tuple[Tensor, Tensor]], scale: float, detector: Detector) -> None:
        super().__init__()
        self.places, self.scale, self.detector = tuple(matrices), scale, detector
        self.at = {name: number for number, name in enumerate(matrices)}
        self.down = nn.ParameterList([a for a, _ in matrices.values()])
        self.up = nn.ParameterList([b for _, b in matrices.values()])

    @property
    def matrices(self) -> dict[str, tuple[Tensor, Tensor]]:
        """A and B of each linear layer."""
        return {name: (self.down[at], self.up[at]) for name, at in self.at.items()}

    def added(self, place: str, inputs: Tensor, weights: Tensor) -> Tensor:
        """(rows, time, outputs) the change of a linear layer's outputs; weights (rows, time)."""
        a, b = (each[self.at[place]].T.to(inputs.dtype) for each in (self.down, self.up))
        return (weights[..., None] * self.scale).to(inputs.dtype) * (inputs @ a @ b)


@dataclass(slots=True)
class Heard:
    """Sums over texts so far: (rows, layers, width) of hidden states, and (rows,) numbers of tokens."""

    sums: Tensor
    counts: Tensor


class GatedCaches(BothCaches):
    """A model's cache, that of the model with its adapters, and the sums so far: all are reordered together."""

    heard: Heard | None = None

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        if self.heard is not None:
            h = self.heard
            self.heard = Heard(h.sums.repeat_interleave(repeats, 0), h.counts.repeat_interleave(repeats, 0))

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        if self.heard is not None:
            self.heard = Heard(self.heard.sums[indices], self.heard.counts[indices])


class Gate(nn.Module):
    """A model's gated adapters.

    Args:
        layers: name of the list of the model's layers.
        base: checksum of the base weights.
    """

    def __init__(self, adapters: list[GatedAdapter], layers: str, base: str) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(adapters)
        self.layers, self.base = layers, base
        self.weights: list[Tensor] | None = None
        "(rows, time) of each adapter, while the model runs with them"
        self.listening: _Listening | None = None
        "while the model runs without adapters"

    @property
    def every(self) -> list[GatedAdapter]:
        """The adapters, in the order in which they were made."""
        return [each for each in self.adapters if isinstance(each, GatedAdapter)]

    @contextmanager
    def acting(self, weights: list[Tensor]) -> Iterator[None]:
        """Context in which the adapters act with these weights."""
        self.weights = weights
        try:
            yield
        finally:
            self.weights = None


class _Listening:
    """Hidden states in one run of the model without adapters.

    Args:
        mask: the model's attention mask: (rows, all), or (rows, 1, time, all), or none.
        past: sums before these tokens.
    """

    def __init__(self, gate: Gate, mask: Any, past: Heard | None) -> None:
        self.gate, self.mask, self.past = gate, mask, past
        self.scores: list[Tensor | None] = [None] * len(gate.adapters)
        self.sums: dict[int, Tensor] = {}
        self.counts: Tensor | None = None

    def hear(self, layer: int, states: Tensor) -> None:
        """Add (rows, time, width) hidden states after a layer."""
        with torch.no_grad(), torch.autocast(states.device.type, enabled=False):
            means = self._means(layer, states.detach().float())
            for number, adapter in enumerate(self.gate.every):
                if layer < adapter.detector.layers:
                    part, before = adapter.detector.part(layer, means), self.scores[number]
                    self.scores[number] = part if before is None else before + part

    def _means(self, layer: int, states: Tensor) -> Tensor:
        """(rows, time, width) the mean state over the tokens that each token attends to."""
        mask, past = self.mask, self.past
        if isinstance(mask, Tensor) and mask.dim() == 4:
            allowed = mask[:, 0] if mask.dtype == torch.bool else mask[:, 0] == 0
            if allowed.shape[-1] != states.shape[1] or past is not None:
                raise ModelError(
                    "gated adapters read no cache under a mask of their own", next_step="begin without one"
                )
            allowed = allowed.to(states.dtype)
            return allowed @ states / allowed.sum(-1, keepdim=True).clamp(min=1)
        there = torch.ones(states.shape[:2], device=states.device)
        if isinstance(mask, Tensor):
            there = mask[:, -states.shape[1] :].to(states.dtype)
        elif mask is not None:
            raise ModelError(f"gated adapters do not know a mask of the type {type(mask).__name__}")
        sums, counts = (states * there[..., None]).cumsum(1), there.cumsum(1)
        if past is not None:
            sums, counts = sums + past.sums[:, layer, None], counts + past.counts[:, None]
        self.sums[layer], self.counts = sums[:, -1], counts[:, -1]
        return sums / counts[..., None].clamp(min=1)

    @property
    def weights(self) -> list[Tensor]:
        """(rows, time) of each adapter."""
        found = []
        for adapter, score in zip(self.gate.every, self.scores, strict=True):
            assert score is not None
            found.append(adapter.detector.weight(score))
        return found

    @property
    def heard(self) -> Heard | None:
        """All sums so far; None under a mask for each token."""
        if self.counts is None:
            return None
        return Heard(torch.stack([self.sums[layer] for layer in sorted(self.sums)], 1), self.counts)


@dataclass
class _Hear:
    """A forward hook of a layer. An object, so that a copy of the model has its own."""

    gate: Gate
    layer: int

    def __call__(self, _module: nn.Module, _given: Any, output: Any) -> None:
        if self.gate.listening is not None:
            self.gate.listening.hear(self.layer, output[0] if isinstance(output, tuple) else output)


@dataclass
class _Add:
    """A forward hook of a linear layer: what the adapters change."""

    gate: Gate
    place: str

    def __call__(self, _module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if self.gate.weights is None:
            return output
        for adapter, weights in zip(self.gate.every, self.gate.weights, strict=True):
            if self.place in adapter.at:
                output = output + adapter.added(self.place, given[0], weights).to(output.dtype)
        return output


def gate_of(model: nn.Module) -> Gate | None:
    """The gate of a model; None if there is none."""
    found = getattr(model, BESIDE, None)
    return found if isinstance(found, Gate) else None


def put_gate(model: PreTrainedModel, gate: Gate) -> None:
    """Make `model` return its logits with the adapters; they become a part of it, `model.gated_adapters`.

    Raises:
        ModelError: the model has other layers than the gate was made for, or a gate already.
    """
    if hasattr(model, BESIDE):
        raise ModelError(f"{type(model).__name__} has a gate already", next_step="begin with a model without one")
    there = dict(model.named_modules())
    layers = there.get(gate.layers)
    deepest = max(each.detector.layers for each in gate.every)
    wrong = [place for each in gate.every for place in each.places if not hasattr(there.get(place), "weight")]
    if not isinstance(layers, nn.ModuleList) or len(layers) < deepest or wrong:
        raise ModelError(
            f"the adapters were not made for {type(model).__name__}",
            seen=wrong[0] if wrong else f"{gate.layers}, {deepest} layers",
            next_step="copy the whole folder again from its origin",
        )
    model.add_module(BESIDE, gate)
    for number in range(deepest):
        layers[number].register_forward_hook(_Hear(gate, number))
    for place in dict.fromkeys(place for each in gate.every for place in each.places):
        there[place].register_forward_hook(_Add(gate, place))
    model.register_forward_pre_hook(_listen, with_kwargs=True)
    model.register_forward_hook(_with_adapters, with_kwargs=True)


def _cache_of(given: Mapping[str, Any]) -> tuple[str | None, Any]:
    """(the name of the argument with keys and values, its value); None if there are none."""
    name = next((each for each in CACHES if given.get(each) is not None), None)
    return name, None if name is None else given[name]


def _listen(model: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A hook before the model runs without adapters."""
    gate = gate_of(model)
    assert gate is not None
    _, held = _cache_of(kwargs)
    past: Heard | None = getattr(held, "heard", None)
    if past is None and held is not None and held.get_seq_length() > 0:
        raise ModelError(
            "a model with gated adapters got a cache without their part",
            next_step="begin with an empty cache",
        )
    gate.listening = _Listening(gate, kwargs.get("attention_mask"), past)


def _with_adapters(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """A forward hook: the logits with the adapters, which have a cache of their own."""
    gate = gate_of(model)
    assert gate is not None
    listened, gate.listening = gate.listening, None
    assert listened is not None
    given = dict(kwargs)
    given.pop("labels", None)
    name, held = _cache_of(given)
    if name is not None:
        given[name] = _own_cache(model, held)
    with gate.acting(listened.weights):
        said = model.forward(*args, **given)
    kept: Any = held if held is not None else cache_in(output)
    if kept is not None:
        kept.of_assistant, kept.heard = cache_in(said), listened.heard
    output.logits = said.logits
    if kwargs.get("labels") is not None:
        output.loss = None  # it would be the base model's
    return output


def _own_cache(model: nn.Module, held: Any) -> Cache:
    """The cache of the model with its adapters that belongs to that of the model without them."""
    own: Cache | None = getattr(held, "of_assistant", None)
    return BothCaches(config=model.config) if own is None else own
