"""Frozen weights held in 8 or 4 bits by bitsandbytes, and widened matrix by matrix as they are used.

An adapter is trained on top of them, as in QLoRA (Dettmers et al. 2023, arXiv:2305.14314). Only weights are quantised;
products and what runs through the layers keep their type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from expunge.errors import RunError
from expunge.ops.narrow import frozen_product

BLOCK = 64
"weights that share a scale in 4 bits (QLoRA, section 4)"


class QuantisedLinear(nn.Linear):
    """`nn.Linear` with a frozen quantised weight.

    Attributes:
        weight: the packed numbers.
        scales: what they are multiplied with.
        state: how 4 bits are unpacked; None of 8 bits.
        checksum: of the weight that was quantised; its maker's to note.
    """

    scales: Tensor
    state: Any
    checksum = 0

    def widened(self, dtype: torch.dtype) -> Tensor:
        """(outputs, inputs) the weight that the packed numbers stand for."""
        from bitsandbytes import functional

        if self.state is not None:
            found: Tensor = functional.dequantize_4bit(self.weight.data, self.state)
        else:
            found = functional.int8_vectorwise_dequant(self.weight.data, self.scales)
        return found.to(dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)
        if self.state is not None:  # it is not a module, and contains tensors
            self.state.to(self.weight.device)
        return self

    def forward(self, input: Tensor) -> Tensor:
        return frozen_product(input, self.widened, self.bias)


def require_bitsandbytes() -> None:
    """Raise unless it is installed. Raises `RunError`."""
    if find_spec("bitsandbytes") is None:
        raise RunError(
            "weights or moments in 8 or 4 bits need the extra bitsandbytes",
            next_step="pip install 'expunge[bitsandbytes]' and run the same command again",
        )


def linear_below(model: nn.Module, names: Iterable[str], prefix: str) -> dict[str, nn.Linear]:
    """Those of a model's modules `names` that are linear layers within the module `prefix`, by name."""
    modules = {name: model.get_submodule(name) for name in names if name.startswith(f"{prefix}.")}
    return {name: module for name, module in modules.items() if isinstance(module, nn.Linear)}


def hold_quantised(layers: Mapping[str, nn.Linear], bits: int, device: torch.device) -> None:
    """Quantise the weights of linear layers in place, each on the device that it is used on.

    Args:
        bits: 8: signed numbers, with a scale a row, as LLM.int8 stores them (arXiv:2208.07339); 4: NF4 in blocks of 64,
            the scales quantised once more (QLoRA, section 3).
    """
    from bitsandbytes import functional

    for module in layers.values():
        weight = module.weight.detach().to(device)
        state: Any = None
        if bits == 4:
            packed, state = functional.quantize_4bit(
                weight, blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
            )
            scales = state.absmax
        else:
            packed, scales, _ = functional.int8_vectorwise_quant(weight.half())
        module.weight = nn.Parameter(packed, requires_grad=False)
        module.register_buffer("scales", scales, persistent=False)
        module.state = state
        module.__class__ = QuantisedLinear


def put_back(model: nn.Module, original: nn.Module) -> None:
    """Put the weights that a model's quantised ones were made from back in their place.

    Args:
        original: the same model, not quantised, without adapters.
    """
    weights = dict(original.named_parameters())
    for name, module in model.named_modules():
        if isinstance(module, QuantisedLinear):
            weight = weights[f"{name.replace('.base_layer', '')}.weight"]
            module.weight = nn.Parameter(weight.detach().to(module.weight.device), requires_grad=False)
            del module.scales, module.state
            module.__class__ = nn.Linear  # type: ignore[assignment]
