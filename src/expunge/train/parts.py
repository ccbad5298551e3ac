"""Layers with weights sharded over all processes: each is gathered as it runs, and released after.

For inference, without gradients of these weights; training uses FSDP2 (`shards`), which takes over the parts.
Gathering a layer takes all processes. If all run the same, they arrive together; if each runs texts of its
own, or one runs alone, they take turns: before each layer all announce the layer they need next, the highest of these
is gathered by all, and those that need it continue. So none waits for one that runs more often, or never.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.utils.hooks import RemovableHandle

from expunge.core import processes
from expunge.train.shards import whole

DONE = -1
"value of a process that needs no layer"
_OF: WeakKeyDictionary[nn.Module, Parts] = WeakKeyDictionary()
_MESHES: dict[str, DeviceMesh] = {}


def mesh_of(device: torch.device) -> DeviceMesh:
    """A one-dimensional mesh of all processes. The first call for a kind of device needs all of them."""
    if device.type not in _MESHES:
        _MESHES[device.type] = init_device_mesh(device.type, (processes.count(),))
    return _MESHES[device.type]


def own_rows(rows: int) -> range:
    """The rows of a tensor that this process has, as FSDP2 divides them."""
    size, rank = -(-rows // processes.count()), processes.place()
    return range(min(rank * size, rows), min((rank + 1) * size, rows))


def part(rows: Tensor, shape: Sequence[int], mesh: DeviceMesh) -> DTensor:
    """A tensor of a shape, of which `rows` are this process's `own_rows`."""
    stride = torch.empty(*shape, device="meta").stride()
    found: DTensor = DTensor.from_local(rows, mesh, [Shard(0)], run_check=False, shape=torch.Size(shape), stride=stride)
    return found


def parts_of(model: nn.Module) -> Parts | None:
    """The sharded layers of a model; None if it is whole."""
    return _OF.get(model)


class Parts:
    """The sharded layers of a model.

    Args:
        model: its sharded parameters are `DTensor`s.
        layers: those that are run one after the other.
        name: its name on all processes.
    """

    def __init__(self, model: nn.Module, layers: Sequence[nn.Module], name: str) -> None:
        self.layers, self.name = list(layers), name
        self._together = False
        self._hooks: list[RemovableHandle] = []
        self._whole: dict[int, list[tuple[nn.Module, str, nn.Parameter]]] = {}
        _OF[model] = self
        processes.CALLS[name] = self.accompany
        self._hook()

    def _hook(self) -> None:
        for number, layer in enumerate(self.layers):

            def before(_module: nn.Module, _given: Any, number: int = number) -> None:
                self._need(number)

            def after(_module: nn.Module, _given: Any, _said: Any, number: int = number) -> None:
                self._give_up(number)

            # Another hook may end the pass with an exception, with the layer gathered.
            self._hooks.append(layer.register_forward_pre_hook(before, prepend=True))
            self._hooks.append(layer.register_forward_hook(after, always_call=True))

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _need(self, number: int) -> None:
        self._give_up(number)
        if processes.world() == 1:
            if not self._together:
                processes.call(self.name, self.accompany)
                self._together = True
            while (turn := processes.largest(number)) != number:
                self._put_together(turn)
                self._give_up(turn)
        self._put_together(number)

    def _put_together(self, number: int) -> None:
        found = self._whole[number] = []
        # What is made in inference mode cannot be used outside of it.
        with torch.inference_mode(False), torch.no_grad():
            for module in self.layers[number].modules():
                for key, value in module._parameters.items():
                    if isinstance(value, DTensor):
                        module._parameters[key] = nn.Parameter(whole(value.detach()), requires_grad=False)
                        found.append((module, key, value))

    def _give_up(self, number: int) -> None:
        for module, key, value in self._whole.pop(number, []):
            module._parameters[key] = value

    def accompany(self) -> None:
        """Take turns without running anything, until no process needs a layer."""
        try:
            while (turn := processes.largest(DONE)) != DONE:
                self._put_together(turn)
                self._give_up(turn)
        finally:
            self._together = False

    @contextmanager
    def in_turns(self) -> Iterator[None]:
        """Context in which each process runs its own texts; it ends when all are done."""
        self._together = True
        try:
            with processes.alone():  # they need not be there together
                yield
        finally:
            self.accompany()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Context in which a copy of the model may be made and trained: no layer is gathered."""
        self._unhook()
        try:
            yield
        finally:
            self._hook()

    def end(self) -> None:
        """Forget the layers."""
        self._unhook()
        self._whole.clear()
        processes.CALLS.pop(self.name, None)
