"""A method that changed nothing is no success: weights are compared with those that it began with."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from expunge.errors import UnchangedError


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
    """A checksum of each weight, by name: no copy of the weights is made."""
    return {name: _checksum(parameter.detach()) for name, parameter in model.named_parameters()}


def _checksum(weight: Tensor) -> int:
    if weight.dtype in (torch.float16, torch.bfloat16):
        weight = weight.float()  # the same value in a wider type is no change
    whole = weight.contiguous().reshape(-1).view(torch.uint8)
    return zlib.crc32(whole.cpu().numpy().data, whole.numel() % (1 << 32))
