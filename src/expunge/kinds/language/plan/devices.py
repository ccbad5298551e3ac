"""Devices by name: memory and speed as their makers publish them, and this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from expunge.core.memory import machine_memory, resident_bytes
from expunge.errors import RecipeError, did_you_mean

USABLE = 0.92
"share of a device's memory for tensors: the rest is for the driver, the libraries and gaps between tensors"
REACHED = 0.4
"share of the published rate assumed to be reached, in measuring and training"
FSDP = Literal["shard", "offload"]
"a trained model is sharded over cards; with offload each card's part waits in main memory"
CARDS = re.compile(r"(\d+)x(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device that a model is trained on.

    Attributes:
        name: as given on the command line.
        memory: bytes of one.
        bf16: whether products use bfloat16 there, if the recipe leaves it open.
        rate: floating-point operations a second in that type, without sparsity; None: not known.
        bandwidth: bytes of its memory read a second; None: not known.
        source: where these figures are from.
        count: number of devices.
        fsdp: whether a model's weights are sharded over all of them in training, and wait in main memory meanwhile
            ("offload").
        usable: bytes of one that tensors can take.
        free: bytes free now, on this machine.
        reached: share of `rate` assumed to be reached.
        update: seconds of an optimizer's update of a weight, if measured.
        main_memory: whether its memory is the machine's own, which holds files that are read, too.
    """

    name: str
    memory: int
    bf16: bool = True
    rate: float | None = None
    bandwidth: float | None = None
    source: str = ""
    count: int = 1
    fsdp: FSDP | None = None
    usable: int = 0
    free: int | None = None
    reached: float = REACHED
    update: float = 0.0
    main_memory: bool = False

    @property
    def speed(self) -> float | None:
        """Operations a second to expect of one device."""
        return None if self.rate is None else self.rate * self.reached


def _card(name: str, gb: float, tera: float, gb_a_second: float, source: str, bf16: bool = True) -> Device:
    memory = int(gb * 1e9)
    return Device(
        name=name,
        memory=memory,
        bf16=bf16,
        rate=tera * 1e12,
        bandwidth=gb_a_second * 1e9,
        source=source,
        usable=int(memory * USABLE),
    )


DEVICES = {
    each.name: each
    for each in (
        _card("a100-40gb", 40, 312, 1555, "NVIDIA A100 datasheet, SXM"),
        _card("a100-80gb", 80, 312, 2039, "NVIDIA A100 datasheet, SXM"),
        _card("h100-80gb", 80, 989, 3350, "NVIDIA H100 datasheet, SXM: half of the figure with sparsity"),
        _card("h200", 141, 989, 4800, "NVIDIA H200 datasheet, SXM: half of the figure with sparsity"),
        _card("l40s", 48, 362, 864, "NVIDIA L40S datasheet"),
        _card("l4", 24, 121, 300, "NVIDIA L4 datasheet: half of the figure with sparsity"),
        _card("a10", 24, 125, 600, "NVIDIA A10 datasheet"),
        _card("rtx-a6000", 48, 154.8, 768, "NVIDIA RTX A6000 datasheet: half of the figure with sparsity"),
        _card("rtx-4090", 24, 165.2, 1008, "NVIDIA Ada GPU architecture whitepaper, float32 sums"),
        _card("rtx-3090", 24, 71, 936, "NVIDIA GA102 whitepaper, float32 sums"),
        _card("t4", 16, 8.1, 320, "NVIDIA T4 datasheet: float32, as it has no bfloat16", bf16=False),
    )
}


def find_device(
    name: str | None, cards: str | None = None, rate: float | None = None, fsdp: FSDP | None = None
) -> Device:
    """A device of the table, cards such as 8x24 (gigabytes each), or this machine if neither is given.

    Args:
        rate: operations a second that each is known to reach.
        fsdp: shard a model's weights over the cards.

    Raises:
        RecipeError: there is no such device; names the nearest.
    """
    if name is not None and cards is not None:
        raise RecipeError("a device and cards are given", seen=f"{name}, {cards}", next_step="give one of them")
    if cards is not None:
        found = CARDS.fullmatch(cards)
        if found is None or int(found[1]) == 0 or float(found[2]) == 0:
            raise RecipeError(
                "cards are given as their number, and gigabytes each", seen=cards, next_step="--gpus 8x24, say"
            )
        memory = int(float(found[2]) * 1e9)
        device = Device(name=cards, memory=memory, count=int(found[1]), usable=int(memory * USABLE))
    elif name is None or name == "this":
        device = this_machine()
    else:
        key = name.lower().replace("_", "-").replace(" ", "-")
        if key not in DEVICES:
            raise RecipeError(
                f"there is no device {name!r} in the table",
                allowed=", ".join(DEVICES),
                next_step=did_you_mean(key, DEVICES) or "give its memory: --gpus 1x24, say",
            )
        device = DEVICES[key]
    if fsdp is not None and device.count == 1:
        raise RecipeError(
            "weights can only be sharded over several cards", seen=device.name, next_step="--gpus 4x80, say"
        )
    device = replace(device, fsdp=fsdp)
    return device if rate is None else replace(device, rate=rate, reached=1.0, source="given with --rate")


def this_machine() -> Device:
    """The accelerator of this machine, or its CPU, with its memory."""
    import torch

    from expunge.train.precision import found_device, has_fast_bf16

    device = found_device()
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        named = torch.cuda.get_device_name(device)
        return Device(name=named, memory=total, bf16=has_fast_bf16(device), usable=int(total * USABLE), free=free)
    total, room = machine_memory()
    return Device(
        name=f"this machine ({device.type})",
        memory=total,
        bf16=has_fast_bf16(device),
        usable=max(0, total - resident_bytes()),
        free=room,
        main_memory=True,
    )
