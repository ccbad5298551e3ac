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
from transformers.pytorch_utils import Conv1D

from expunge.errors import ModelError, RunError
from expunge.ops.narrow import frozen_product

BLOCK = 64
"weights that share a scale in 4 bits (QLoRA, section 4)"


class Quantised(nn.Module):
    """What linear layers with a frozen quantised weight share.

    Attributes:
        weight: the packed numbers of a weight (outputs, inputs).
        bias: (outputs,) as it is stored, or None.
        scales: what they are multiplied with.
        state: how 4 bits are unpacked; None of 8 bits.
        checksum: of the weight that was quantised; its maker's to note.
    """

    weight: Tensor
    bias: Any
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


class QuantisedLinear(Quantised, nn.Linear):
    """`nn.Linear` with a frozen quantised weight."""


class QuantisedConv1D(Quantised, Conv1D):
    """GPT-2's linear layer, whose weight is transposed, with a frozen quantised one."""


def has_bitsandbytes() -> bool:
    """Whether it is installed."""
    return find_spec("bitsandbytes") is not None


def require_bitsandbytes() -> None:
    """Raise unless it is installed. Raises `RunError`."""
    if not has_bitsandbytes():
        raise RunError(
            "weights or moments in 8 or 4 bits need the extra bitsandbytes",
            next_step="pip install 'expunge[bitsandbytes]' and run the same command again",
        )


class NoMatricesError(ModelError):
    """A model has no matrices that can be quantised."""


def linear_below(model: nn.Module, names: Iterable[str], prefix: str) -> dict[str, nn.Linear | Conv1D]:
    """Those of a model's modules `names` that are linear layers within the module `prefix`, by name.

    Raises:
        NoMatricesError: there is none.
    """
    modules = {name: model.get_submodule(name) for name in names if name.startswith(f"{prefix}.")}
    found = {name: module for name, module in modules.items() if isinstance(module, nn.Linear | Conv1D)}
    if not found:
        raise NoMatricesError(
            f"{type(model).__name__} has no linear layers that can be quantised to 8 or 4 bits",
            next_step="leave training.quantization out",
        )
    return found


def hold_quantised(layers: Mapping[str, nn.Linear | Conv1D], bits: int, device: torch.device) -> None:
    """Quantise the weights of linear layers in place, each on the device that it is used on.

    Args:
        bits: 8: signed numbers, with a scale a row, as LLM.int8 stores them (arXiv:2208.07339); 4: NF4 in blocks of 64,
            the scales quantised once more (QLoRA, section 3).
    """
    from bitsandbytes import functional

    for module in layers.values():
        turned = isinstance(module, Conv1D)
        weight = module.weight.detach().to(device)
        if turned:
            weight = weight.T.contiguous()
        state: Any = None
        if bits == 4:
            packed, state = functional.quantize_4bit(
                weight, blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
            )
            scales = state.absmax
        else:
            packed, scales, _ = functional.int8_vectorwise_quant(weight.half())
        module.weight = nn.Parameter(packed, requires_grad=False)
        if turned:  # here peft finds (inputs, outputs) of a Conv1D whose weight has another shape
            module.weight.ds_shape = weight.T.shape  # type: ignore[attr-defined]
        module.register_buffer("scales", scales, persistent=False)
        module.state = state
        module.__class__ = QuantisedConv1D if turned else QuantisedLinear


def put_back(model: nn.Module, original: nn.Module) -> None:
    """Put the weights that a model's quantised ones were made from back in their place.

    Args:
        original: the same model, not quantised, without adapters.
    """
    weights = dict(original.named_parameters())
    for name, module in model.named_modules():
        if isinstance(module, Quantised):
            weight = weights[f"{name.replace('.base_layer', '')}.weight"]
            module.weight = nn.Parameter(weight.detach().to(module.weight.device), requires_grad=False)
            del module.scales, module.state
            plain = Conv1D if isinstance(module, Conv1D) else nn.Linear
            module.__class__ = plain  # type: ignore[assignment]
