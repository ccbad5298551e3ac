"""Weights stored in a narrow dtype and widened matrix by matrix as they are used.

The numbers are those of a model whose weights were widened once: bfloat16 and float16 fit into float32 exactly. The
saving is memory: 2 bytes a weight instead of 4, and no wide copy is kept for the backward pass. Of weights that are
trained the gradients are narrow, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from expunge.ops.narrow_gradients import looked_up, trained_product


class _FrozenProduct(Function):
    """input @ weight.T + bias; `widened` gives the frozen weight in the type of the input, once more for the
    gradient."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, widened: Callable[[torch.dtype], Tensor], bias: Tensor | None) -> Tensor:
        ctx.widened = widened
        return F.linear(inputs, widened(inputs.dtype), None if bias is None else bias.to(inputs.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0] @ ctx.widened(gradients[0].dtype), None, None


def frozen_product(inputs: Tensor, widened: Callable[[torch.dtype], Tensor], bias: Tensor | None) -> Tensor:
    """A linear layer with a frozen weight that is widened as it is used, in the type that autocast asks for.

    Args:
        widened: gives the weight (outputs, inputs) in a type.
    """
    kind = inputs.device.type
    if torch.is_autocast_enabled(kind):
        inputs = inputs.to(torch.get_autocast_dtype(kind))
    found: Tensor = _FrozenProduct.apply(inputs, widened, bias)
    return found


class NarrowLinear(nn.Linear):
    """`nn.Linear` with a narrow weight."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.requires_grad:
            return trained_product(input, self.weight, self.bias)
        return frozen_product(input, self.weight.to, self.bias)


class NarrowConv1D(Conv1D):
    """GPT-2's linear layer, whose weight is transposed, with a narrow one."""

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.requires_grad:
            return trained_product(x, self.weight.T, self.bias)
        return frozen_product(x, self.weight.T.to, self.bias)


class NarrowEmbedding(nn.Embedding):
    """`nn.Embedding` with a narrow weight; what it looks up is float32."""

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.requires_grad:
            return looked_up(input, self.weight, self.padding_idx)
        return super().forward(input).float()


NARROW: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: NarrowLinear,
    Conv1D: NarrowConv1D,
    nn.Embedding: NarrowEmbedding,
}


def modules_run(model: nn.Module, run: Callable[[], object]) -> set[str]:
    """The names of the modules that are called while `run` runs the model."""
    called = set[str]()

    def note(name: str) -> Callable[..., None]:
        return lambda *_: called.add(name)

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return called


def hold_narrow(
    model: nn.Module,
    run: Callable[[], object],
    apart: Collection[nn.Module] = (),
    trained: torch.dtype | None = None,
) -> set[str]:
    """Freeze a model and keep its matrices and embeddings in the type they have; everything else becomes float32.

    So does a subclass of a linear layer, which may use its weight in its own way, and the whole model if it reads a
    weight bypassing its layer, as Mamba's kernels do.

    Args:
        run: runs the model on a few tokens, which shows weights read without their layer.
        apart: modules whose own weights are left as they are, but frozen.
        trained: nothing is frozen, and matrices and embeddings are rounded to this type.

    Returns:
        The names of the layers whose matrices stay narrow.
    """
    called = modules_run(model, run)
    if trained is None:
        model.requires_grad_(False)
    matrices = {
        name: NARROW[type(module)]
        for name, module in model.named_modules()
        if type(module) in NARROW and module not in apart
    }
    # An expert that no token was sent to is not called either, but nor is the module that it is part of.
    if any(name.rpartition(".")[0] in called and name not in called for name in matrices):
        for module in model.modules():
            _widen_own(module)
        return set()
    others = [module for name, module in model.named_modules() if name not in matrices]
    shared = {weight for module in others for weight in module.parameters(recurse=False)}
    for name, module in model.named_modules():
        if module in apart:
            continue
        if name in matrices:
            module.__class__ = matrices[name]
            if trained is not None:
                if module.weight not in shared:  # tied to what reads it as it is
                    module.weight.data = module.weight.data.to(trained)
                if isinstance(bias := getattr(module, "bias", None), Tensor):
                    bias.data = bias.data.float()
            continue
        _widen_own(module)
    return set(matrices)


def _widen_own(module: nn.Module) -> None:
    """Make a module's own weights and buffers float32; unlike `Module.float` also those without values, of a plan."""
    for value in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
        if value.is_floating_point():
            value.data = value.data.float()


def widen(model: nn.Module) -> None:
    """Convert a narrow model back to plain float32."""
    plain = {narrow: kind for kind, narrow in NARROW.items()}
    for module in model.modules():
        module.__class__ = plain.get(type(module), type(module))
    model.float()


def computing_dtype(model: nn.Module) -> torch.dtype:
    """The type of a model's hidden states: that of its weights, or float32 if they are narrow."""
    held = tuple(NARROW.values())
    if any(isinstance(module, held) for module in model.modules()):
        return torch.float32
    return next(model.parameters()).dtype
