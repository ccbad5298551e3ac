"""Cross-entropy from hidden states, without ever holding all logits: values and gradients chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

CHUNK = 512
"rows whose logits are held at once"
NARROW_CHUNK, BLOCK = 128, 8192
"rows, and tokens of the vocabulary widened at once, if the head is stored in a narrower dtype than it is used in"


class _HeadWeights:
    """A head (vocabulary, features) in the type of the products; a narrow one is widened block by block, never whole.

    Args:
        trained: whether its gradient is asked for: a narrow one's is rounded once a chunk, so there are fewer of these.
    """

    def __init__(self, head: Tensor, dtype: torch.dtype, trained: bool = False) -> None:
        self.dtype = dtype
        narrow = head.element_size() < dtype.itemsize
        self.rows = NARROW_CHUNK if narrow and not trained else CHUNK
        self.weights = head.detach() if narrow else head.detach().to(dtype)
        self.size = BLOCK if narrow else len(head)
        self.outer_size = BLOCK if head.element_size() < torch.float32.itemsize else len(head)

    def chunks(self, rows: int) -> Iterator[slice]:
        """The rows whose logits are held at once, in order."""
        return (slice(start, start + self.rows) for start in range(0, rows, self.rows))

    def logits(self, hidden: Tensor) -> Tensor:
        """(rows, vocabulary) of `hidden` (rows, features)."""
        if self.size == len(self.weights):
            return hidden @ self.weights.T.to(self.dtype)
        found = hidden.new_empty(len(hidden), len(self.weights))
        for part, block in zip(found.split(self.size, -1), self.weights.split(self.size), strict=True):
            torch.mm(hidden, block.to(self.dtype).T, out=part)  # no second copy, as joining blocks would make
        return found

    def back(self, gradient: Tensor) -> Tensor:
        """(rows, features) of the gradient by the logits, (rows, vocabulary)."""
        found = [
            part @ block.to(self.dtype)
            for part, block in zip(gradient.split(self.size, -1), self.weights.split(self.size), strict=True)
        ]
        return found[0] if len(found) == 1 else torch.stack(found).sum(0)

    def add_outer(self, total: Tensor, gradient: Tensor, hidden: Tensor) -> None:
        """Add the gradient by the head that (rows, vocabulary) by the logits of (rows, features) make; never two
        whole."""
        for part, block in zip(total.split(self.outer_size), gradient.split(self.outer_size, -1), strict=True):
            part += (block.T @ hidden).to(total.dtype)


class _LinearCrossEntropy(Function):
    """sum_n sum_k -weight[n, k] * log softmax(head @ hidden[n])[target[n, k]], with its gradients made in forward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        target: Tensor,
        weight: Tensor,
        dtype: torch.dtype,
        ceiling: float | Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        need_hidden, need_head = ctx.needs_input_grad[:2]
        weights = _HeadWeights(head, dtype, need_head)
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        total = hidden.new_zeros((), dtype=wide)
        logsums = hidden.new_empty(len(hidden), dtype=wide)
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_head = torch.zeros_like(head) if need_head else None
        for rows in weights.chunks(len(hidden)):
            chunk = hidden[rows].detach().to(dtype)
            logits = weights.logits(chunk).to(wide)
            wanted = logits.gather(1, target[rows])
            # One pass of exponentials for value and gradient; divided by their own sum, the probabilities add up to 1,
            # which exp(logits - logsumexp) does not to the last digits: an error all classes share does not cancel.
            top = logits.amax(-1, keepdim=True)
            sums = logits.sub_(top).exp_().sum(-1, keepdim=True)
            logsum = top + sums.log()
            logsums[rows] = logsum[:, 0]
            mass = weight[rows].to(wide)
            losses = (mass * (logsum - wanted)).sum(1)
            if ceiling is not None:
                limit = ceiling[rows].to(wide) if isinstance(ceiling, Tensor) else ceiling
                mass = mass * (losses < limit)[:, None]  # a row above it is a constant: no gradient
                losses = losses.clamp(max=limit)
            total += losses.sum()
            if grad_hidden is None and grad_head is None:
                continue
            # d/dlogits = (sum of weights) * softmax - weights, instead of the logits: no second copy
            gradient = logits.mul_(mass.sum(1, keepdim=True) / sums)
            gradient.scatter_add_(1, target[rows], -mass)
            narrow = gradient.to(dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = weights.back(narrow).to(hidden.dtype)
            if grad_head is not None:
                weights.add_outer(grad_head, narrow, chunk)
        ctx.save_for_backward(grad_hidden, grad_head)
        ctx.mark_non_differentiable(logsums)
        return total, logsums

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        scale = grad_outputs[0]
        grad_hidden, grad_head = ctx.saved_tensors
        return (
            None if grad_hidden is None else grad_hidden * scale.to(grad_hidden.dtype),
            None if grad_head is None else grad_head.mul_(scale.to(grad_head.dtype)),
            None,
            None,
            None,
            None,
        )


def linear_cross_entropy(
    hidden: Tensor,
    head: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    dtype: torch.dtype | None = None,
    ceiling: float | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of a linear head, holding logits of `CHUNK` rows at a time.

    Args:
        hidden: (rows, features).
        head: (vocabulary, features).
        target: (rows,) token ids, or (rows, k) candidates.
        weight: (rows, k) weight of each candidate; default: ones.
        dtype: type of the matrix products (bfloat16 under autocast); default: that of `hidden`.
        ceiling: most that a row's loss counts for, in nats, (rows,) or one for all; rows above it have no gradient.

    Returns:
        The sum over rows (scalar, float32, differentiable once) and each row's log-sum-exp (rows,).
    """
    if target.dim() == 1:
        target = target[:, None]
    if weight is None:
        weight = torch.ones_like(target, dtype=torch.float32)
    if not torch.is_grad_enabled():  # a Function cannot see that, and would compute the gradients all the same
        hidden, head = hidden.detach(), head.detach()
    loss, logsums = _LinearCrossEntropy.apply(hidden, head, target, weight, dtype or hidden.dtype, ceiling)
    return loss, logsums


class _LinearNLL(Function):
    """Each row's -log p(target); the logits are made again, chunk by chunk, once backward knows each row's weight."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, target: Tensor, dtype: torch.dtype) -> Tensor:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        weights = _HeadWeights(head, dtype)
        losses = hidden.new_empty(len(hidden), dtype=wide)
        for rows in weights.chunks(len(hidden)):
            logits = weights.logits(hidden[rows].detach().to(dtype)).to(wide)
            losses[rows] = logits.logsumexp(-1) - logits.gather(1, target[rows, None])[:, 0]
        ctx.save_for_backward(hidden, head, target)
        ctx.dtype = dtype
        return losses

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head, target = ctx.saved_tensors
        with torch.enable_grad():
            hidden_, head_ = hidden.detach().requires_grad_(), head.detach().requires_grad_(ctx.needs_input_grad[1])
            total, _ = linear_cross_entropy(hidden_, head_, target, grad_outputs[0][:, None], ctx.dtype)
            total.backward()
        return hidden_.grad, head_.grad, None, None


def linear_nll(hidden: Tensor, head: Tensor, target: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Each row's cross-entropy with a linear head, (rows,), differentiable, for losses that weigh rows by their value.

    Costs one more product with the head than `linear_cross_entropy`, and as little memory. Arguments as there, with
    one target (rows,) a row.
    """
    losses: Tensor = _LinearNLL.apply(hidden, head, target, dtype or hidden.dtype)
    return losses
