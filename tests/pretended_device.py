"""A second device where there is none: tensors in the processor's memory that count as a GPU's, and may not be mixed.

Inside `pretended()`, whatever is sent to `cuda` stays where it is and is marked, as is everything computed from it. An
operation on marked and unmarked tensors raises, as CUDA's own does. So a tensor that was left behind is noticed on any
machine, and values stay those of the processor, bit for bit.

What CUDA allows is allowed: numbers (tensors without dimensions) of the processor in any operation, its tensors as
indices, copies in both directions. What it refuses is refused: a processor's random generator for the device's tensors,
`numpy()` of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("cuda", 0)
CPU = torch.device("cpu")
MARK = "pretended"
INDEXING = {"aten::index", "aten::_unsafe_index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_"}
WHERE, IS_CUDA = Tensor.device.__get__, Tensor.is_cuda.__get__  # type: ignore[attr-defined]
RANDOM = {"normal", "uniform", "rand", "randn", "randint", "randperm", "multinomial", "exponential", "cauchy", "random"}
"draws of the device, which are others than the processor's; those of dropout are let pass"
COPYING = {"aten::copy_", "aten::set_", "aten::copy"}


class MixedDevicesError(RuntimeError):
    """Tensors of both devices met in one operation."""


def moved(tensor: Tensor) -> bool:
    """Whether a tensor counts as the second device's; the mark lies with the memory, which views share."""
    with torch._C.DisableTorchFunction():
        return MARK in tensor.untyped_storage().__dict__


def mark(value: Any) -> Any:
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            with torch._C.DisableTorchFunction():
                leaf.untyped_storage().__dict__[MARK] = True
    return value


def is_second(device: Any) -> bool:
    if isinstance(device, int) and not isinstance(device, bool):
        return True
    return device is not None and torch.device(device).type == DEVICE.type


def _draws(name: str) -> bool:
    return name.removeprefix("aten::").removesuffix("_").removesuffix("_like") in RANDOM


class _Watch(TorchDispatchMode):
    """Sees every operation, those of backward passes too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        given = list(args)
        if name in INDEXING:
            given[1] = None  # where to look may lie on the processor
            indices = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor)]
            if not moved(args[0]) and any(moved(index) and index.ndim for index in indices):
                raise MixedDevicesError(f"{name}: indices on {DEVICE}, the indexed tensor on the processor")
        tensors = [leaf for leaf in tree_leaves((given, kwargs)) if isinstance(leaf, Tensor)]
        there = [tensor for tensor in tensors if moved(tensor)]
        left = [tensor for tensor in tensors if not moved(tensor) and tensor.ndim]
        if there and left and name not in COPYING:
            raise MixedDevicesError(
                f"{name}: a tensor of {tuple(there[0].shape)} on {DEVICE}, one of {tuple(left[0].shape)} left behind"
            )
        if there and isinstance(kwargs.get("generator"), torch.Generator):
            raise MixedDevicesError(f"{name}: a random generator of the processor for tensors on {DEVICE}")
        if there and _draws(name):
            raise MixedDevicesError(f"{name}: drawn on {DEVICE}, so not what the processor draws")
        found = func(*args, **kwargs)
        if there and name not in COPYING:
            mark(found)
        return found


class _Send(TorchFunctionMode):
    """Sends tensors to and fro, and says where they are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func == WHERE:
            return DEVICE if moved(args[0]) else CPU
        if func == IS_CUDA:
            return moved(args[0])
        if func in (Tensor.to, Tensor.cuda, Tensor.cpu):
            return self._to(func, args, kwargs)
        if func is Tensor.__deepcopy__:  # it copies memory, and is no operation
            return mark(func(*args, **kwargs)) if moved(args[0]) else func(*args, **kwargs)
        if func in (Tensor.numpy, Tensor.__array__) and moved(args[0]):
            raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() first")
        if name != "device" and "device" in kwargs:
            second = is_second(kwargs["device"])
            if second and isinstance(kwargs.get("generator"), torch.Generator):
                raise MixedDevicesError(f"{name}: a random generator of the processor for {DEVICE}")
            if second and _draws(name):
                raise MixedDevicesError(f"{name}: drawn on {DEVICE}, so not what the processor draws")
            like = args and isinstance(args[0], Tensor) and moved(args[0])
            if second:
                return mark(func(*args, **(kwargs | {"device": CPU})))
            if kwargs["device"] is not None and like:
                raise NotImplementedError(f"{name} of a tensor on {DEVICE} with device={kwargs['device']}")
        return func(*args, **kwargs)

    def _to(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        tensor, given = args[0], [*args[1:], kwargs.get("device"), kwargs.get("dtype"), kwargs.get("other")]
        second, wanted, dtype = moved(tensor), None, None
        if func in (Tensor.cuda, Tensor.cpu):
            wanted, given = DEVICE if func is Tensor.cuda else CPU, []
        for each in given:
            if isinstance(each, torch.dtype):
                dtype = each
            elif isinstance(each, Tensor):
                wanted, dtype = DEVICE if moved(each) else CPU, each.dtype
            elif isinstance(each, str | torch.device) or (isinstance(each, int) and not isinstance(each, bool)):
                wanted = DEVICE if is_second(each) else CPU
        more = {name: kwargs[name] for name in ("copy", "memory_format") if name in kwargs}
        result: Tensor = tensor.to(dtype or tensor.dtype, **more)
        return result if wanted is None or is_second(wanted) == second else _sent(result, is_second(wanted))


class _Sent(torch.autograd.Function):
    """A copy on the other device; its gradient comes back to where the tensor is."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, second: bool) -> Tensor:
        ctx.second = second
        return _copied(tensor, second)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _copied(gradient, not ctx.second), None


def _sent(tensor: Tensor, second: bool) -> Tensor:
    found: Tensor = _Sent.apply(tensor, second) if tensor.requires_grad else _copied(tensor, second)
    return found


@torch.no_grad()
def _copied(tensor: Tensor, second: bool) -> Tensor:
    with torch._C.DisableTorchFunction():
        copy = tensor.clone()
        copy.untyped_storage().__dict__.pop(MARK, None)
    return mark(copy) if second else copy  # type: ignore[no-any-return]


@contextmanager
def pretended() -> Iterator[torch.device]:
    """Inside, the machine seems to have a GPU, and Accelerate to have found it."""
    state = PartialState()
    before, to = state._shared_state["device"], torch.nn.Module.to
    PartialState._shared_state["device"] = DEVICE
    torch.nn.Module.to = _module_to(to)  # type: ignore[assignment]
    try:
        with _Send(), _Watch():
            yield DEVICE
    finally:
        PartialState._shared_state["device"], torch.nn.Module.to = before, to  # type: ignore[method-assign]


def _module_to(to: Any) -> Any:
    """`Module.to` that asks a tensor given in place of a device where it is said to be."""

    def moved_to(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Tensor):
            return to(self, args[0].device, args[0].dtype, **kwargs)
        return to(self, *args, **kwargs)

    return moved_to
