"""Products and look-ups with narrow weights that are trained: made wide, with gradients in the type of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F


class _Product(Function):
    """input @ weight.T + bias; the weight is widened once more for the gradient of the input."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.bias = None if bias is None else bias.dtype
        return F.linear(inputs, weight.to(inputs.dtype), None if bias is None else bias.to(inputs.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        for_inputs, for_weight, for_bias = ctx.needs_input_grad
        gradient = gradients[0]
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            gradient @ weight.to(gradient.dtype) if for_inputs else None,
            (rows.T @ inputs.reshape(-1, inputs.shape[-1])).to(weight.dtype) if for_weight else None,
            rows.sum(0).to(ctx.bias) if for_bias else None,
        )


def trained_product(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer in the type of its inputs, or in the one that autocast asks for, with a weight in a narrower one.

    Args:
        inputs: (..., features).
        weight: (outputs, features); its gradient is summed in the type of the product, and rounded once.
        bias: (outputs,).
    """
    kind = inputs.device.type
    if torch.is_autocast_enabled(kind):
        inputs = inputs.to(torch.get_autocast_dtype(kind))
    found: Tensor = _Product.apply(inputs, weight, bias)
    return found


class _LookUp(Function):
    """weight[ids] in float32."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.dtype, ctx.padding = weight.shape, weight.dtype, padding
        return F.embedding(ids, weight).float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        ids, gradient = ctx.saved_tensors[0].reshape(-1), gradients[0].reshape(-1, ctx.shape[1])
        # A frequent token has hundreds of rows: their sum is made wide, in the row of one of them, and rounded once.
        every = torch.arange(len(ids), device=ids.device)
        one = torch.zeros(ctx.shape[0], dtype=torch.long, device=ids.device).scatter_(0, ids, every)[ids]
        sums = torch.ops.aten.embedding_dense_backward(gradient, one, len(ids), -1, False)
        found = torch.zeros(ctx.shape, dtype=ctx.dtype, device=ids.device)
        found[ids] = sums[one].to(ctx.dtype)  # what is written twice is the same
        if ctx.padding is not None:
            found[ctx.padding] = 0
        return None, found, None


def looked_up(ids: Tensor, weight: Tensor, padding: int | None = None) -> Tensor:
    """(..., width) float32 rows of a narrow embedding.

    Args:
        ids: (...) whole numbers.
        weight: (tokens, width); its gradient is summed in float32, and rounded once.
        padding: the row that is not trained.
    """
    found: Tensor = _LookUp.apply(ids, weight, padding)
    return found
