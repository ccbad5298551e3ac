"""A method that changed nothing is no success: weights are compared with those that it began with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import nn

from expunge.errors import UnchangedError
from expunge.ops.checksum import checksum
from expunge.ops.quantised import QuantisedLinear


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
    if _bits(model) == before and not meant():
        raise UnchangedError(
            f"the method {method} changed no weight: what would be saved is the base model",
            seen=f"{len(before)} weights, all as they were",
            allowed="at least one that differs",
            next_step=f"read the notices above; try other settings (expunge methods {method} lists them), or another method",
        )


def _bits(model: nn.Module) -> dict[str, int]:
    """A checksum of each weight, by name: no copy is made. A quantised one stands for the weight that it was made from."""
    modules = dict(model.named_modules())
    found = {}
    for name, parameter in model.named_parameters():
        module = modules[name.rpartition(".")[0]]
        quantised = isinstance(module, QuantisedLinear) and parameter is module.weight
        found[name] = module.checksum if quantised else checksum(parameter.detach())
    return found
