"""Device and precision of a run."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import InitProcessGroupKwargs

from expunge.core.processes import PATIENCE, launched


def found_device() -> torch.device:
    """The device that Accelerate finds; everything is trained and measured there.

    `ACCELERATE_USE_CPU=true` keeps everything on the CPU. If a launcher started several processes, this joins them.
    """
    # As Accelerate sets it, transformers would give weights to the first process alone: here each has to have them.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    # Accelerate joins several processes without an accelerator only if told that there is none.
    if PartialState._shared_state:  # of a script with its own Accelerator: its processes are joined
        return PartialState().device
    alone_on_cpu = True if launched() > 1 and not torch.accelerator.is_available() else None
    joined = InitProcessGroupKwargs(timeout=PATIENCE)
    return Accelerator(cpu=alone_on_cpu, mixed_precision="no", kwargs_handlers=[joined]).device


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is native on this device, and so faster."""
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return False


class Precision:
    """The device that Accelerate found, and the recipe's autocast.

    Weights stay float32 masters; bfloat16 is the type of the matrix products only.
    """

    def __init__(self, bf16: Literal["auto"] | bool = "auto") -> None:
        self.device = found_device()
        self.bf16 = has_fast_bf16(self.device) if bf16 == "auto" else bool(bf16)

    @property
    def arithmetic(self) -> str:
        """The arithmetic of training and measuring, in words."""
        return "float32 weights, matrix products in bfloat16" if self.bf16 else "float32"

    def autocast(self) -> AbstractContextManager[object]:
        # A cache would hold a narrow copy of every weight; none is used twice inside of one context.
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False) if self.bf16 else nullcontext()
