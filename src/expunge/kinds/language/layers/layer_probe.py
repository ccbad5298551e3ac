"""Probe one layer: it is run again on recorded inputs, with a weight, an output or the input changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from expunge.errors import ModelError
from expunge.kinds.language.layers.decoder import first_tensor, hooked, same

NEAR = {torch.float32: 1e-3, torch.float64: 1e-3}
"by type of the weights: share of a change that may point elsewhere, by rounding"
COARSE = 0.1
"the same for types with fewer digits"
STILL = 1e-5
"share of the largest value below which a difference is rounding"


@dataclass(frozen=True, slots=True)
class Way:
    """How a parameter writes to the residual stream."""

    axis: int
    "axis of the parameter with the stream's coordinates"
    norm: str | None
    "name of the norm between the parameter and the stream, if any"
    mixes: bool
    "whether the addition at a token depends on other tokens"
    bias: bool
    "whether it is added at every token"


@dataclass(slots=True)
class Call:
    """A layer's inputs in a run of the model; `state` is the residual stream among them, (1, tokens, width)."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    state: Tensor

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> Call:
        """A copy of a layer's arguments.

        Raises:
            ModelError: none of them has the shape of hidden states.
        """
        args, kwargs = tree_map_only(Tensor, Tensor.clone, (args, kwargs))
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        state = next((each for each in given if each.is_floating_point() and each.dim() == 3), None)
        if state is None:
            raise ModelError(
                f"{what} gets no hidden states of the usual shape, so the weights that it writes through cannot be found",
                seen=", ".join(str(tuple(each.shape)) for each in given),
                allowed="(batch, tokens, width): one residual stream",
            )
        return cls(args, kwargs, state)

    def again(self, state: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A copy of the arguments, with another state."""

        def put(each: Tensor) -> Tensor:
            return state.clone() if same(each, self.state) else each.clone()

        found: tuple[tuple[Any, ...], dict[str, Any]] = tree_map_only(Tensor, put, (self.args, self.kwargs))
        return found


class LayerProbe:
    """A layer with its recorded inputs; `what` names the layer in errors."""

    def __init__(self, module: nn.Module, call: Call, what: str) -> None:
        self.module, self.call, self.what = module, call, what
        self.width = call.state.shape[-1]
        self.heavy = {name: inner for name, inner in module.named_modules() if name and _is_heavy(inner)}
        self.said: dict[str, list[Any]] = {name: [] for name in self.heavy}
        self.clean = self._listen()

    def run(self, state: Tensor | None = None) -> Tensor:
        """(tokens, width) the layer's output, for its own state or another."""
        args, kwargs = self.call.again(self.call.state if state is None else state)
        try:
            with torch.no_grad():
                found = first_tensor(self.module(*args, **kwargs))
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
            raise ModelError(
                f"{self.what} cannot be run by itself, so the weights that it writes through cannot be found",
                seen=f"{type(error).__name__}: {error}"[:300],
            ) from error
        if found is None or found.shape != self.call.state.shape:
            raise ModelError(f"{self.what} returns no hidden states of the shape of its input")
        return found[0].clone()

    def ways(self) -> dict[str, Way]:
        """The parameters that write to the stream, by their names in the layer."""
        norms = [name for name, inner in self.module.named_modules() if name and self._adds(name, inner)]
        parameters = dict(self.module.named_parameters())
        found: dict[str, tuple[int, str]] = {}
        most: dict[str, int] = {}  # most dimensions of a module's writing parameters
        for name, parameter in parameters.items():
            for axis in [number for number, size in enumerate(parameter.shape) if size == self.width]:
                ends = self._ends(name, parameter, axis, norms)
                if ends is not None:
                    found[name] = axis, ends
                    most[_owner(name)] = max(most.get(_owner(name), 2), parameter.dim())
                    break
        mixing = {branch for branch in {_branch(name) for name in found} if self._mixes(branch)}
        return {
            name: Way(axis, norm or None, _branch(name) in mixing, parameters[name].dim() < most[_owner(name)])
            for name, (axis, norm) in found.items()
        }

    def passed_on(self, along: Tensor) -> float:
        """The factor that a layer applies to the stream along a direction: 1, except in models that scale it."""
        step = self.call.state.norm(dim=-1).median() * along
        with self._frozen(self.heavy):
            moved = self.run(self.call.state + step) - self.clean
        return float((moved @ along).median() / step.norm())

    def _listen(self) -> Tensor:
        """Run once, and record the output of every module with matrices of its own."""

        def note(name: str) -> Callable[..., None]:
            return lambda _module, _inputs, output: self.said[name].append(_copy(output))

        with hooked(inner.register_forward_hook(note(name)) for name, inner in self.heavy.items()):
            return self.run()

    def _frozen(self, names: Iterable[str]) -> AbstractContextManager[None]:
        """Context in which these modules return their recorded outputs."""
        return hooked(self.heavy[name].register_forward_hook(_replay(iter(self.said[name]))) for name in names)

    def _others(self, name: str) -> list[str]:
        """The modules with matrices that are neither this one nor around it."""
        return [other for other in self.heavy if other != name and not name.startswith(other + ".")]

    def _adds(self, name: str, inner: nn.Module) -> bool:
        """Whether a module without matrices, such as a norm, is run once and its output is added to the stream."""
        own = list(inner.parameters())
        if not own or any(parameter.dim() > 1 for parameter in own):
            return False
        pushed: list[Tensor] = []

        def push(_module: nn.Module, _inputs: object, output: Any) -> Any:
            if not isinstance(output, Tensor) or output.shape != self.call.state.shape:
                return output
            pushed.append(nn.functional.normalize(_drawn(self.width), dim=0).to(output))
            return output + output.norm(dim=-1).median() * pushed[-1]

        with inner.register_forward_hook(push), self._frozen(self._others(name)):
            moved = self.run() - self.clean
        return len(pushed) == 1 and self._points(moved, pushed[0], self.clean)

    def _ends(self, name: str, parameter: Tensor, axis: int, norms: list[str]) -> str | None:
        """Where a parameter's output ends: "" in the stream, the name of a norm before it, None elsewhere."""
        unit = nn.functional.normalize(_drawn(self.width), dim=0).to(parameter)
        rest = [size for number, size in enumerate(parameter.shape) if number != axis]
        step = torch.tensordot(_drawn(*rest, seed=1).to(parameter), unit, dims=0).movedim(-1, axis)
        kept = parameter.detach().clone()
        step *= (float(kept.norm()) or 1.0) / float(step.norm())
        others = self._others(_owner(name))
        before = self._reaching(norms, others)[1] if norms else {}
        try:
            with torch.no_grad():
                parameter.add_(step)
            after, reaching = self._reaching(norms, others)
        finally:
            with torch.no_grad():
                parameter.copy_(kept)
        if self._points(after - self.clean, unit, self.clean):
            return ""
        for norm, given in reaching.items():
            if norm in before and self._points(given - before[norm], unit, before[norm]):
                return norm
        return None

    def _reaching(self, norms: list[str], frozen: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """(the layer's output, its input to each of these norms), with frozen modules."""
        given: dict[str, Tensor] = {}

        def note(name: str) -> Any:
            def at(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
                if inputs and isinstance(inputs[0], Tensor) and inputs[0].shape == self.call.state.shape:
                    given[name] = inputs[0][0].clone()

            return at

        noted = [self.module.get_submodule(name).register_forward_pre_hook(note(name)) for name in norms]
        with hooked(noted), self._frozen(frozen):
            return self.run(), given

    def _points(self, moved: Tensor, unit: Tensor, base: Tensor) -> bool:
        """Whether a change (tokens, width) is along one direction at nearly every changed token."""
        size = moved.norm(dim=-1)
        there = size > STILL * base.abs().max()
        if not there.any():
            return False
        astray = moved - (moved @ unit)[:, None] * unit
        return bool((astray.norm(dim=-1)[there] / size[there]).median() < NEAR.get(moved.dtype, COARSE))

    def _mixes(self, branch: str) -> bool:
        """Whether another first token changes the addition of a part of the layer at later ones."""
        state = self.call.state.clone()
        state[:, 0] = state[:, 0].flip(-1) * 2 + state[:, 1]
        with self._frozen([name for name in self.heavy if _branch(name) != branch]):
            moved = (self.run(state) - self.clean)[1:]
        return bool(moved.abs().max() > STILL * self.clean.abs().max())


def _owner(name: str) -> str:
    """The module that a parameter belongs to."""
    return name.rpartition(".")[0]


def _branch(name: str) -> str:
    """The part of the layer that a parameter belongs to."""
    return name.partition(".")[0]


def _is_heavy(module: nn.Module) -> bool:
    """Whether a module has matrices of its own."""
    return any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))


def _replay(said: Iterator[Any]) -> Callable[..., Any]:
    """A hook that replaces a module's outputs by recorded ones, call by call.

    If an expert gets other tokens than before, by another routing, its output is not replaced.
    """

    def put(_module: nn.Module, _inputs: object, output: Any) -> Any:
        before = next(said, output)
        one, other = first_tensor(before), first_tensor(output)
        return output if one is None or other is None or one.shape != other.shape else _copy(before)

    return put


def _copy(output: Any) -> Any:
    """A copy of a module's output, safe from in-place changes."""
    return tree_map_only(Tensor, Tensor.clone, output)


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    """Normal draws, the same at every call; a single 1 without a shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) if shape else torch.ones(())
