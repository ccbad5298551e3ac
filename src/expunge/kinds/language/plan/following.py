"""Track tensors without values through a step: bytes alive at once, and matrix products."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper
from transformers.integrations import moe  # noqa: F401 - registers its operations

from expunge.kinds.language.layers.decoder import first_tensor
from expunge.kinds.language.plan.fakes import FakeLM

aten = torch.ops.aten
TOP, MIDDLE, BOTTOM = "top", "middle", "bottom"
"parts of a backward pass: down to the last layers, between them, and from the first layers on"


def _experts(inputs: torch.Size, weight: torch.Size, *_: Any, **_named: Any) -> int:
    """Each row times one expert's matrix."""
    return 2 * inputs[0] * weight[-2] * weight[-1]


def _experts_backward(inputs: torch.Size, weight: torch.Size, *_: Any, **_named: Any) -> int:
    return 2 * _experts(inputs, weight)


FLOPS: dict[Any, Any] = {
    **flop_registry,
    # The CPU's kernel has the same interface as an accelerator's.
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
    aten._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        aten._scaled_dot_product_flash_attention_backward
    ],
    **{
        getattr(torch.ops.transformers, name): shape_wrapper(count)
        for name, count in (("grouped_mm_fallback", _experts), ("grouped_mm_fallback_backward", _experts_backward))
        if hasattr(torch.ops.transformers, name)  # not in every version
    },
}
"operation -> its floating-point operations, by torch's own formulas; attention counts whole, as without a causal mask"


class Following(TorchDispatchMode):
    """Counts the bytes of all live storages, and floating-point operations, phase by phase.

    torch's `MemTracker` counts the same bytes but no phases, which are needed to extrapolate a peak.

    Attributes:
        phase: the current phase; set from outside.
        peaks: maximum of bytes alive in each phase.
        live: bytes alive now.
        flops: of all phases.
    """

    def __init__(self) -> None:
        super().__init__()
        self.phase, self.live, self.flops = "", 0, 0
        self.peaks: dict[str, int] = {}
        self._sizes: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def add(self, tensors: Iterable[Tensor]) -> int:
        """Count existing tensors; return their bytes. Tied weights are one storage, and count once."""
        before = self.live
        for tensor in tensors:
            self._note(tensor)
        return self.live - before

    def enter(self, phase: str) -> None:
        """Start a phase."""
        self.phase = phase
        self.peaks[phase] = max(self.live, self.peaks.get(phase, 0))

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place in self._sizes:
            return
        size = storage.nbytes()

        def gone(_: Any) -> None:
            self.live -= self._sizes.pop(place)[0]

        self._sizes[place] = size, weakref.ref(storage, gone)
        self.live += size
        if self.live > self.peaks.get(self.phase, 0):
            self.peaks[self.phase] = self.live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:  # called at every turn
            return args[0].fake_device
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if (count := FLOPS.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **kwargs, out_val=found)
        for each in found if isinstance(found, tuple | list) else (found,):
            if isinstance(each, Tensor):
                self._note(each)
        return found


@contextmanager
def phases(task: FakeLM, followed: Following, period: int) -> Iterator[None]:
    """Name phases: each run of the layers forward, and the backward pass of it by whether it is at the top or the
    bottom."""
    runs = 0
    layers = list(task.layers)
    last = (len(layers) - 1) // period

    def begin(_module: nn.Module, _inputs: Any) -> None:
        nonlocal runs
        if torch._C._current_graph_task_id() == -1:  # else a layer is run again, in the backward pass
            runs += 1
            followed.enter(f"{runs} forward")

    def arrives(place: str) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            states, phase = first_tensor(output), f"{runs} {place}"
            if states is not None and states.requires_grad and torch._C._current_graph_task_id() == -1:
                states.register_hook(lambda _: followed.enter(phase))

        return note

    hooks = [layers[0].register_forward_pre_hook(begin)]
    for number, layer in enumerate(layers):
        part = number // period
        hooks.append(layer.register_forward_hook(arrives(BOTTOM if part == 0 else TOP if part == last else MIDDLE)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
