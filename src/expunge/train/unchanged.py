"""A method that changed nothing is no success: weights are compared with those that it began with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import nn
from torch.distributed.tensor import DTensor

from expunge.core.processes import summed
from expunge.errors import UnchangedError
from expunge.ops.checksum import checksum
from expunge.ops.quantised import QuantisedLinear
from expunge.train.parts import parts_of


@contextlib.contextmanager
def must_change(model: nn.Module, method: str, meant: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Inside, a method is at work on a model.

    Args:
        meant: asked on the way out: whether the method chose by measurement to leave the model as it was, and said so.

    Raises:
        UnchangedError: on the way out, where every weight has the same bits as before.
    """
    before = _bits(model)
    yield
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
        if isinstance(module, QuantisedLinear) and parameter is module.weight:
            found[name] = module.checksum
            continue
        own = parameter.detach()
        if isinstance(own, DTensor):
            own = own.to_local().clone()  # memory that numpy has seen is never given back, and a part's has to be
        found[name.replace(".base_layer", "")] = checksum(own)
    return found
