"""Find by testing the weights through which a language model's layers write to the residual stream.

A weight *writes* if a change of it along one direction of the stream moves its layer's output along that direction
and no other. So the weight's name does not matter, nor whether it is transposed, or holds one matrix or
one for each expert, or by which constant its output is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from expunge.kinds.language.layers.decoder import Decoder, hooked
from expunge.kinds.language.layers.layer_probe import COARSE, NEAR, Call, LayerProbe, Way

FAR = 4
"a matrix whose shorter side is this many times shorter than an MLP's is a router"


@dataclass(frozen=True, slots=True)
class Writer:
    """A weight through which a layer adds to the residual stream."""

    name: str
    "name of the parameter in the model"
    axis: int
    "axis of the parameter with the stream's coordinates"
    norm: nn.Module | None
    "the module between the weight and the stream, if any (Gemma 2, OLMo 2)"
    mixes: bool
    "whether the addition at a token depends on other tokens: it does with attention, not with an MLP"
    bias: bool
    "whether it is added at every token"

    def direction(self, stream: Tensor) -> Tensor:
        """(width,) of length 1: the direction to remove from the weight, so that the stream loses `stream`.

        Behind a norm y -> g * (y - mean(y)) / size(y) + b the stream's component along v is one along g * v (minus its
        mean, if the norm subtracts means), divided by size(y): the norm's output for each unit vector shows it.
        """
        if self.norm is None:
            return stream
        with torch.no_grad():
            weight = next(self.norm.parameters())
            units = torch.eye(len(stream), dtype=weight.dtype, device=weight.device)[None]
            made = (self.norm(units) - self.norm(torch.zeros_like(units)))[0].to(stream)
        return nn.functional.normalize(made @ stream, dim=0)

    def without(self, weight: Tensor, stream: Tensor, scale: float) -> Tensor:
        """The weight minus `scale` times its part along a direction (width,) of the stream, of length 1."""
        along = self.direction(stream.to(weight))
        part = torch.tensordot(weight, along, dims=([self.axis], [0]))
        return weight - scale * torch.tensordot(part, along, dims=0).movedim(-1, self.axis)


class Structure:
    """The weights that each layer of a model writes through; `run` runs the model on a few tokens."""

    def __init__(self, model: nn.Module, decoder: Decoder, run: Callable[[], object]) -> None:
        self.decoder, self._name = decoder, type(model).__name__
        self._calls = self._record(run)
        self._known: dict[object, dict[str, Way]] = {}

    def writers(self, layer: int) -> list[Writer]:
        """The weights through which a layer adds to the stream; none if text does not pass it.

        Raises:
            ModelError: the layer cannot be run by itself.
        """
        if layer not in self._calls:
            return []
        module, prefix = self.decoder.layers[layer], f"{self.decoder.prefix}.{layer}."
        # Layers that are built alike are tested once.
        kind = (type(module), *((name, tuple(p.shape)) for name, p in module.named_parameters()))
        if kind not in self._known:
            self._known[kind] = self._probe(layer).ways()
        writers = []
        for name, way in self._known[kind].items():
            norm = None if way.norm is None else module.get_submodule(way.norm)
            writers.append(Writer(prefix + name, way.axis, norm, way.mixes, way.bias))
        return writers

    def outputs(self, layer: int) -> list[Writer]:
        """The MLP's last weights: those whose addition at each token depends on that token alone.

        All weights that the layer writes through, if it has no MLP (Mamba); biases are left out.
        """
        found = [writer for writer in self.writers(layer) if not writer.bias]
        return [writer for writer in found if not writer.mixes] or found

    def mlp(self, layer: int) -> list[str]:
        """The MLP's matrices, by name: those in the same part of the layer as what `outputs` finds.

        If the last matrix is directly in the layer (OPT's fc2) the others are, too. Routers and gates of experts are
        left
        out: one of their sides is the number of experts, or far shorter than any of what `outputs` finds. If the layer
        has no MLP: the weights it writes through.
        """
        ends = [writer for writer in self.outputs(layer) if not writer.mixes]
        if not ends:
            return [writer.name for writer in self.outputs(layer)]
        prefix = f"{self.decoder.prefix}.{layer}."
        named = {name: each for name, each in self.decoder.layers[layer].named_parameters() if each.dim() > 1}
        mixing = {writer.name.removeprefix(prefix) for writer in self.writers(layer) if writer.mixes}
        found: list[str] = []
        for part in dict.fromkeys(writer.name.removeprefix(prefix).partition(".")[0] for writer in ends):
            inside = [name for name in named if name.startswith(f"{part}.")]
            if f"{part}.weight" in named:
                inside = [name for name in named if name.count(".") == 1 and name not in mixing]
            experts = {named[name].shape[0] for name in inside if named[name].dim() > 2}
            least = min(min(named[each.name.removeprefix(prefix)].shape[-2:]) for each in ends) / FAR
            matrices = [name for name in inside if min(named[name].shape[-2:]) >= least]
            found += [name for name in matrices if named[name].dim() > 2 or not experts & set(named[name].shape)]
        return [prefix + name for name in dict.fromkeys(found)]

    def added(self, layer: int, direction: Tensor) -> Tensor:
        """(tokens,) the layer's addition along a direction (width,) of length 1 at each token, in the current model.

        The addition of a layer that scales the stream is its output minus the scaled stream.
        """
        if layer not in self._calls:
            return torch.zeros(1)
        probe = self._probe(layer)
        along = direction.to(probe.clean)
        return (probe.clean - probe.passed_on(along) * probe.call.state[0]) @ along

    def left(self, layer: int, direction: Tensor, before: Tensor) -> float:
        """The share of the layer's earlier addition along a direction, `before` as from `added`, that remains.

        0 if no more is left than rounding.
        """
        if layer not in self._calls:
            return 0.0
        after, size = self.added(layer, direction), float(self._calls[layer].state.norm(dim=-1).median())
        near = NEAR.get(after.dtype, COARSE)
        share = float(after.norm()) / max(float(before.norm()), near * size)
        return share if share > near else 0.0

    def _probe(self, layer: int) -> LayerProbe:
        return LayerProbe(self.decoder.layers[layer], self._calls[layer], f"layer {layer} of {self._name}")

    def _record(self, run: Callable[[], object]) -> dict[int, Call]:
        calls: dict[int, Call] = {}

        def note(number: int) -> Callable[..., None]:
            def at(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                calls[number] = Call.of(args, kwargs, f"layer {number} of {self._name}")

            return at

        layers = enumerate(self.decoder.layers)
        with (
            torch.no_grad(),
            hooked(layer.register_forward_pre_hook(note(number), with_kwargs=True) for number, layer in layers),
        ):
            run()
        return calls
