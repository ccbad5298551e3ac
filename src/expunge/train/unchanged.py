"""A method that changed nothing, or left what is not a number, is not a success: weights are looked at when it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import nn
from torch.distributed.tensor import DTensor

from expunge.core.processes import summed
from expunge.errors import DivergedError, UnchangedError
from expunge.ops.checksum import checksum
from expunge.ops.quantised import Quantised
from expunge.train.parts import parts_of


@contextlib.contextmanager
def must_change(model: nn.Module, method: str, meant: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Inside, a method is at work on a model.

    Args:
        meant: asked on the way out: whether the method chose by measurement to leave the model as it was, and said so.

    Raises:
        UnchangedError: on the way out, where every weight has the same bits as before.
        DivergedError: on the way out, where a weight is NaN or infinite: a last update is followed by no loss that shows it.
    """
    before = _bits(model)
    yield
    _refuse_broken(model, method)
    changed = _bits(model) != before
    if parts_of(model) is not None:  # that of another process may be the part that changed
        changed = summed([float(changed)])[0] > 0
    if not changed and not meant():
        raise UnchangedError(
            f"the method {method} changed no weight: what would be saved is the base model",
            seen=f"{len(before)} weights, all as they were",
            allowed="at least one that differs",
            next_step=f"read the notices above; try other settings (expunge methods {method} lists them), or another method",
        )


def _refuse_broken(model: nn.Module, method: str) -> None:
    named = list(model.named_parameters())
    broken = []
    for name, weights in named:
        own = weights.to_local() if isinstance(weights, DTensor) else weights.detach()
        wide = not own.is_meta and own.is_floating_point() and own.element_size() > 1
        if wide and not bool(own.isfinite().all()):
            broken.append(name)
    if broken:
        raise DivergedError(
            f"the method {method} left weights that are not numbers: nothing is saved",
            seen=f"NaN or infinity in {len(broken)} of {len(named)} weights, first in {broken[0]}",
            allowed="finite weights",
            next_step="give a lower learning rate, or other settings of the method (expunge methods "
            f"{method} lists them), and another --out",
        )


def _bits(model: nn.Module) -> dict[str, int]:
    """A checksum of each weight, by name: no copy is made. A quantised one stands for the weight that it was made from."""
    modules, in_parts = dict(model.named_modules()), parts_of(model) is not None
    found = {}
    for name, parameter in model.named_parameters():
        module = modules[name.rpartition(".")[0]]
        if in_parts and ".lora_" in name:  # an adapter that is left on, to be merged where the model is saved
            if ".lora_B" in name and bool(parameter.any()):
                found["adapter"] = 1
            continue
        if isinstance(module, Quantised) and parameter is module.weight:
            found[name] = module.checksum
            continue
        own = parameter.detach()
        if isinstance(own, DTensor):
            own = own.to_local().clone()  # memory that numpy has seen is never given back, and a part's has to be
        found[name.replace(".base_layer", "")] = checksum(own)
    return found
