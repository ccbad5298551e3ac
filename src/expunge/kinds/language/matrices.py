"""The matrices of a language model that tools quantise, prune and merge."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from transformers.pytorch_utils import Conv1D

from expunge.kinds.language.task import CausalLM


def matrices(task: CausalLM) -> dict[str, nn.Parameter]:
    """The weights of the linear layers within the text tower's layers, and matrices of experts, by name: those that
    tools quantise. Embeddings, the head and convolutions are left out."""
    modules = dict(task.model.named_modules())

    def counts(name: str, parameter: nn.Parameter) -> bool:
        owner = modules[name.rpartition(".")[0]]
        if parameter.dim() == 3:
            return not isinstance(owner, _ConvNd) and min(parameter.shape[1:]) > 1
        return isinstance(owner, nn.Linear | Conv1D) and name.endswith(".weight")

    return {
        name: parameter
        for name, parameter in task.model.named_parameters()
        if task.layer_of(name) is not None and counts(name, parameter)
    }


def by_column(task: CausalLM) -> set[str]:
    """Names of those `matrices` with a column for each output instead of a row as in `nn.Linear`: GPT-2's, and those
    of some models' experts."""
    modules, found = dict(task.model.named_modules()), set()
    for name, parameter in matrices(task).items():
        owner = modules[name.rpartition(".")[0]]
        turned = isinstance(owner, Conv1D) or (parameter.dim() == 3 and _turned(owner))
        if turned:
            found.add(name)
    return found


def _turned(experts: nn.Module) -> bool:
    """Whether matrices of experts are (experts, inputs, outputs)."""
    if hasattr(experts, "is_transposed"):
        return bool(experts.is_transposed)
    up, down = getattr(experts, "gate_up_proj", None), getattr(experts, "down_proj", None)
    if not isinstance(up, Tensor) or not isinstance(down, Tensor):
        return False
    # Two matrices lie side by side in the first, and the output of one is the input of the other.
    return up.shape[2] == 2 * down.shape[1] and up.shape[1] == down.shape[2]
