"""Weights sharded over processes by torch's FSDP2 (`fully_shard`), from Accelerate's configuration.

Accelerate itself only does this on accelerators; here it is the same on CPUs, so that it is tested.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from expunge.core import processes
from expunge.errors import RunError
from expunge.ops.quantised import Quantised


class Root(nn.Module):
    """Runs a function inside of its own call, so that wrappers act around it, whichever part of the model is called."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[..., Any], *given: Any) -> Any:
        return work(*given)


def check_spread() -> Any:
    """The FSDP settings of Accelerate's configuration.

    Raises:
        RunError: it is not supported here.
    """
    from accelerate.utils import FullyShardedDataParallelPlugin

    asked = FullyShardedDataParallelPlugin()
    if asked.fsdp_version != 2:
        raise RunError(
            "weights are sharded by FSDP2",
            seen=f"fsdp_version: {asked.fsdp_version}",
            next_step="accelerate launch --use_fsdp --fsdp_version 2 ..., or export FSDP_VERSION=2",
        )
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise RunError("weights are sharded with torch 2.9 or later", seen=torch.__version__)
    return asked


def spread(model: nn.Module, layers: str, device: torch.device) -> tuple[nn.Module, Root]:
    """(a copy of a model with its weights sharded over all processes, the root in which they are gathered).

    Every layer is gathered as it runs; other weights with the root.

    Args:
        model: the same on all processes; it does not change, except that sharded weights move to the copy, and
            come back with `gather`.
        layers: the name of the list of its layers.
        device: the model's device.

    Raises:
        RunError: Accelerate's configuration has unsupported settings.
    """
    asked = check_spread()
    # The copy's weights have no values until each has its part of them.
    memo: dict[int, Any] = {
        id(weight): nn.Parameter(
            torch.empty(weight.shape, dtype=weight.dtype, device="meta"), requires_grad=weight.requires_grad
        )
        for weight in model.parameters()
    }
    copied = copy.deepcopy(model, memo)
    root = Root(copied)
    how: dict[str, Any] = {"mesh": init_device_mesh(device.type, (processes.count(),))}
    offloads = isinstance(asked.cpu_offload, CPUOffloadPolicy)
    if offloads:
        how["offload_policy"] = CPUOffloadPolicy(pin_memory=torch.accelerator.is_available())
    for layer in copied.get_submodule(layers).children():
        fully_shard(layer, reshard_after_forward=bool(asked.reshard_after_forward), **how)
    fully_shard(root, **how)
    assert isinstance(root, FSDPModule)
    # Sums, not means: gloo silently computes torch's mean as a sum.
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)
            module.set_gradient_divide_factor(1.0)
            # Routers send tokens to other experts on each process.
            if hasattr(module, "set_reduce_scatter_unused_params"):
                module.set_reduce_scatter_unused_params(True)
    _hand_over(model, root, layers, torch.device("cpu") if offloads else device)
    with torch.no_grad():
        for (_, value), (_, part) in zip(model.named_buffers(), copied.named_buffers(), strict=True):
            part.data = value.to(device, copy=True)
    for module in copied.modules():
        if isinstance(module, Quantised) and module.state is not None:
            module.state.to(device)  # it is used whole where the model runs
    return copied, root


@torch.no_grad()
def _hand_over(model: nn.Module, root: Root, layers: str, device: torch.device) -> None:
    """Give a spread copy's weights memory and values, layer by layer: sharded sources are released meanwhile."""

    def fill(names: str, inside: bool) -> None:
        for name, value in model.named_parameters():
            if name.startswith(names) == inside:
                put(root.model.get_parameter(name), value.detach())
                if isinstance(value, DTensor):
                    _room(value, 0)

    within: set[nn.Module] = set()
    for name, layer in root.model.get_submodule(layers).named_children():
        layer.to_empty(device=device)
        fill(f"{layers}.{name}.", inside=True)
        within |= set(layer.modules())
    for module in reversed(list(root.modules())):  # the root last: it registers its changed parts
        if module not in within:
            module.to_empty(device=device, recurse=False)
    fill(f"{layers}.", inside=False)


def gather(spread_out: nn.Module, model: nn.Module) -> None:
    """Copy the weights of a sharded copy back into the original model, on all processes.

    Sharded weights are moved out of the copy, which is not used any more.
    """
    with torch.no_grad():
        for (_, part), (_, value) in zip(spread_out.named_parameters(), model.named_parameters(), strict=True):
            if isinstance(value, DTensor):
                _room(value, value.to_local().numel())
                put(value, part.detach())
                if isinstance(part, DTensor):
                    _room(part, 0)
            else:
                value.copy_(whole(part.detach()))


def _room(tensor: DTensor, numbers: int) -> None:
    """Free the memory of this process's part, or allocate it again."""
    local = tensor.to_local()
    local.untyped_storage().resize_(numbers * local.element_size())


def whole(tensor: Tensor) -> Tensor:
    """A tensor gathered from all processes, all have to call this; itself if it is whole."""
    if not isinstance(tensor, DTensor):
        return tensor
    with processes.followed():
        return tensor.full_tensor()


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, sharded as `like`; on its device."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value.to(like.device, copy=True)
    # Every process has the whole tensor, so nothing is sent.
    found: Tensor = distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
    return torch.zeros_like(like).copy_(found)  # an offloaded part is not on its mesh's device


def put(target: Tensor, value: Tensor) -> None:
    """Write a tensor into one that may be sharded; a part into a part."""
    if isinstance(target, DTensor) and isinstance(value, DTensor):  # both are divided by rows, as FSDP2 does
        target.to_local().copy_(value.to_local())
        return
    target.copy_(part_of(value, target) if isinstance(target, DTensor) else value)
