"""The layers of a language model's text tower, found by running it, not by names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from expunge.errors import ModelError


@contextmanager
def hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Context that removes these hooks at its end."""
    handles = list(hooks)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, slots=True)
class Decoder:
    """The layers of the text tower, first to last."""

    prefix: str
    "the name of their list in the model (`model.layers`, `transformer.h`)"
    layers: nn.ModuleList

    def of(self, model: nn.Module) -> Decoder:
        """The layers of a copy of the model."""
        layers = model.get_submodule(self.prefix)
        assert isinstance(layers, nn.ModuleList)
        return Decoder(self.prefix, layers)

    def layer_of(self, name: str) -> int | None:
        """The layer that a weight belongs to, from 0; None for embeddings, the head and other towers."""
        if not name.startswith(self.prefix + "."):
            return None
        return int(name.removeprefix(self.prefix + ".").partition(".")[0])


def find_decoder(model: nn.Module, run: Callable[[], object]) -> Decoder:
    """The list of modules, as long as the text configuration's layers, that a text passes one after the other.

    A vision or audio tower with the same number of layers is not run by text; lists of parts of layers do not pass on
    their outputs. `run` runs the model on a few tokens.

    Raises:
        ModelError: there is no such list.
    """
    config: Any = model.config
    wanted = getattr(config.get_text_config(decoder=True), "num_hidden_layers", None)
    lists = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == wanted
    }
    handed_on = {name: 0 for name in lists}
    last: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            state = first_tensor(output)
            given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            if name in last:
                handed_on[name] += any(same(value, last[name]) for value in given)
            elif state is not None:
                handed_on[name] += len(lists[name]) == 1
            if state is not None:
                last[name] = state

        return note

    layers = [(name, layer) for name, module in lists.items() for layer in module]
    with torch.no_grad(), hooked(layer.register_forward_hook(watch(name), with_kwargs=True) for name, layer in layers):
        run()
    # The outermost of those that pass on most: a layer may contain a list of the same length.
    best = max(handed_on, key=lambda name: (handed_on[name], -name.count(".")), default=None)
    if best is None or handed_on[best] == 0:
        raise ModelError(
            f"{type(model).__name__} has no list of layers that a text passes one after the other",
            seen=f"lists of {wanted} modules: {', '.join(lists) or 'none'}",
            next_step="use a method that needs no layers, and leave training.first_layer and training.adapter_rank out",
        )
    return Decoder(best, lists[best])


def first_tensor(output: Any) -> Tensor | None:
    """The hidden states among what a layer returns: the first floating-point tensor."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        return next((found for each in output if (found := first_tensor(each)) is not None), None)
    return None


def plus(output: Any, change: Tensor) -> Any:
    """A layer's output with changed hidden states, which come first."""
    if isinstance(output, Tensor):
        return output + change.to(output)
    return (output[0] + change.to(output[0]), *output[1:])


def same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other))
