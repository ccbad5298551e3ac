"""A method that changed nothing, or left what is no number, is no success: weights are looked at when it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import nn

from expunge.errors import DivergedError, UnchangedError
from expunge.ops.checksum import checksum
from expunge.ops.quantised import QuantisedLinear


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
    if _bits(model) == before and not meant():
        raise UnchangedError(
            f"the method {method} changed no weight: what would be saved is the base model",
            seen=f"{len(before)} weights, all as they were",
            allowed="at least one that differs",
            next_step=f"read the notices above; try other settings (expunge methods {method} lists them), or another method",
        )


def _refuse_broken(model: nn.Module, method: str) -> None:
    named = list(model.named_parameters())
    wide = ((name, weights.detach()) for name, weights in named if not weights.is_meta and weights.element_size() > 1)
    broken = [name for name, weights in wide if weights.is_floating_point() and not bool(weights.isfinite().all())]
    if broken:
        raise DivergedError(
            f"the method {method} left weights that are no numbers: nothing is saved",
            seen=f"NaN or infinity in {len(broken)} of {len(named)} weights, first in {broken[0]}",
            allowed="finite weights",
            next_step="give a lower learning rate, or other settings of the method (expunge methods "
            f"{method} lists them), and another --out",
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
