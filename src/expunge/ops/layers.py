"""A classifier's parts by their place: leaf layers, blocks, first layer and head; and putting them back to random."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from expunge.errors import ModelError

LAYERS_OF_A_BLOCK = 3
"a block has at least this many layers with weights: fewer are a convolution with its normalisation"


def leaves(model: nn.Module, *kinds: type[nn.Module]) -> list[tuple[str, nn.Module]]:
    """Layers with weights of their own, in the order of the model; of these kinds only, if given."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None and (not kinds or isinstance(module, kinds))
    ]


def head(model: nn.Module) -> nn.Linear:
    """The last linear layer, which makes the logits."""
    linear = leaves(model, nn.Linear)
    if not linear:
        raise ModelError("the model has no linear layer to make logits", seen=type(model).__name__)
    module = linear[-1][1]
    assert isinstance(module, nn.Linear)
    return module


def first_layer(model: nn.Module) -> nn.Module:
    """The layer that sees the pixels: the first convolution, or the first linear layer if there is none."""
    found = leaves(model, nn.Conv2d) or leaves(model, nn.Linear)
    if not found:
        raise ModelError("the model has neither a convolution nor a linear layer", seen=type(model).__name__)
    return found[0][1]


def blocks(model: nn.Module) -> list[nn.Module]:
    """The model cut into blocks, first to last: residual blocks or transformer layers, then the head.

    A block is what repeats: a member of a list of modules of one class, with three layers or more, that has no smaller
    block. A model without any is cut into its layers.
    """
    repeated: list[nn.Module] = []
    for module in model.modules():
        members = list(module.children()) if isinstance(module, nn.ModuleList | nn.Sequential) else []
        if len({type(member) for member in members}) == 1:
            repeated += [member for member in members if len(leaves(member)) >= LAYERS_OF_A_BLOCK]
    inside = {id(inner) for block in repeated for inner in block.modules() if inner is not block}
    smaller = {id(block) for block in repeated if id(block) in inside}
    found = [
        block for block in repeated if not any(id(inner) in smaller for inner in block.modules() if inner is not block)
    ]
    return [*found, head(model)] if found else [module for _, module in leaves(model)]


def tail(model: nn.Module, count: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """The layers before the model's last `count` blocks, and those from there on, the head among them.

    Raises:
        ModelError: the model has not this many blocks.
    """
    found = blocks(model)
    if count >= len(found):
        raise ModelError(
            f"{type(model).__name__} has no {count} blocks before its head",
            seen=count,
            allowed=f"1 to {len(found) - 1}",
        )
    layers = [module for _, module in leaves(model)]
    inside = {id(module) for module in found[-count - 1].modules()}
    start = next(number for number, layer in enumerate(layers) if id(layer) in inside)
    return layers[:start], layers[start:]


@contextmanager
def frozen(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, the layers' own weights are not trained and nothing is computed for it."""
    parameters = [p for layer in layers for p in layer.parameters(recurse=False) if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def reset(modules: Iterable[nn.Module], generator: torch.Generator, *, residual: bool = True) -> None:
    """Give layers new random weights; draws come from `generator` and touch no global state.

    Convolutions as in residual networks (He et al. 2015: normal, by fan-out) where `residual`, else and all other layers as
    PyTorch makes them (`reset_parameters`). Draws are made on the processor, wherever the layers are: the same weights on
    every device.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(1 << 31, (1,), generator=generator)))
        for module in modules:
            first = next(module.parameters(), None)
            far = first is not None and first.device.type != "cpu"
            drawn = copy.deepcopy(module).cpu() if far else module
            for inner in drawn.modules():
                own = list(inner.parameters(recurse=False))
                renew = getattr(inner, "reset_parameters", None)
                if callable(renew):
                    renew()
                    if residual and isinstance(inner, nn.Conv2d):
                        nn.init.kaiming_normal_(inner.weight, mode="fan_out", nonlinearity="relu")
                elif own:  # tokens and positions of transformers
                    with torch.no_grad():
                        for parameter in own:
                            nn.init.trunc_normal_(parameter, std=0.02)
            if far:
                module.load_state_dict(drawn.state_dict())
