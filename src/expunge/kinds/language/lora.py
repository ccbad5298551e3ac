"""LoRA adapters: added to the layers of the text tower, switched, merged into the weights that they adapt."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from expunge.errors import ModelError
from expunge.kinds.language.layers.decoder import hooked
from expunge.kinds.language.task import CausalLM

FUSED = 3
"dimensions of a parameter that holds a matrix for each expert"


@dataclass(frozen=True, slots=True)
class Targets:
    """What adapters are added to, by name in the model."""

    modules: tuple[str, ...]
    "linear layers"
    parameters: tuple[str, ...]
    "weights that hold a matrix for each expert"
    left: tuple[str, ...]
    "linear layers that stay as they are: their module is passed over, and its weights read directly, as Mamba's kernels do"

    def note(self) -> str | None:
        """What a report has to say: what no adapter was added to."""
        if not self.left:
            return None
        leaves = ", ".join(sorted({name.rpartition(".")[2] for name in self.left}))
        return (
            f"no adapter was added to {len(self.left)} of the layers' matrices ({leaves}): the model reads them past their "
            "modules, as Mamba's kernels do, so that an adapter would be lost"
        )


def targets(task: CausalLM) -> Targets:
    """Every matrix of the text tower's layers; neither embeddings, nor the head, nor another tower.

    Raises:
        ModelError: the model's layers cannot be found, or hold no matrix that an adapter can be added to.
    """
    decoder = task.decoder
    run = _modules_run(task)
    modules: list[str] = []
    parameters: list[str] = []
    left: list[str] = []
    for name, module in decoder.layers.named_modules(prefix=decoder.prefix):
        if isinstance(module, nn.Linear | Conv1D):
            # An expert that no token was sent to is not run either, but nor is the module that it is part of.
            unused = name.rpartition(".")[0] in run and name not in run
            (left if unused or _passed_over(task.model, name.rpartition(".")[2]) else modules).append(name)
        elif not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            parameters += [
                f"{name}.{leaf}"
                for leaf, parameter in module.named_parameters(recurse=False)
                if parameter.dim() == FUSED and min(parameter.shape) > 1
            ]
    if not modules and not parameters:
        raise ModelError(
            f"{type(task.model).__name__} has no matrices in its layers that an adapter can be added to",
            seen=f"{len(left)} that its kernels read directly" if left else "none",
            next_step="train the weights themselves: leave training.adapter_rank out; --reinforcement.adapter false",
        )
    return Targets(tuple(modules), tuple(parameters), tuple(left))


def inject(task: CausalLM, name: str, rank: int, seed: int) -> Targets:
    """Add an adapter to the model; only its matrices are trainable afterwards. They are float32 whatever the model is.

    Of fused experts each has matrices of this rank.
    """
    # By peft itself: transformers' `add_adapter` refuses the newest peft whenever it expects one not yet released.
    from peft import LoraConfig, inject_adapter_in_model

    found = targets(task)
    torch.manual_seed(seed)
    # Scaling alpha / rank of 2 as in the LoRA paper's language model runs (Hu et al. 2021, table 11).
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="|".join(map(re.escape, found.modules)) or [],
        target_parameters=list(found.parameters) or None,
    )
    inject_adapter_in_model(config, task.model, name)
    for key, parameter in task.model.named_parameters():
        if is_adapters(key, name):
            parameter.data = parameter.data.float()
    return found


def is_adapters(key: str, name: str) -> bool:
    """Whether a parameter is one of an adapter's."""
    return f".{name}." in key


def _adapted(model: nn.Module) -> dict[str, Any]:
    """The layers that adapters were added to, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}


def switch(model: nn.Module, on: bool) -> None:
    """Switch every adapter on or off."""
    for module in _adapted(model).values():
        module.enable_adapters(on)


def adapted_weights(model: nn.Module) -> dict[str, str]:
    """The weight that each of the adapters' parameters changes: both by name, the weight's without adapters."""
    found: dict[str, str] = {}
    for name, module in _adapted(model).items():
        weight = f"{name}.{getattr(module, 'parameter_name', 'weight')}".replace(".base_layer", "")
        own = [key for key, _ in module.named_parameters(prefix=name) if key.startswith(f"{name}.lora_")]
        found |= dict.fromkeys(own, weight)
    return found


def merge(model: PreTrainedModel) -> None:
    """Add the adapters to the weights, and make the model a plain one again.

    In float32: a model of another type becomes a float32 one first, since rounding to fewer digits would undo a part of
    the change. In what type it is saved is decided where it is saved, with the change in sight.
    """
    wrapped = _adapted(model)
    if any(p.dtype != torch.float32 for p in model.parameters()):
        model.float()
    for module in wrapped.values():
        module.enable_adapters(True)
        module.merge()
    # Fused experts are wrapped once for each of their weights; the innermost module is the model's own.
    for name, module in wrapped.items():
        if not name.endswith(".base_layer"):
            parent, _, leaf = name.rpartition(".")
            base = module.get_base_layer()
            assert isinstance(base, nn.Module)
            setattr(model.get_submodule(parent), leaf, base)
    if hasattr(model, "peft_config"):
        del model.peft_config


@contextlib.contextmanager
def adapter(task: CausalLM, rank: int | None, seed: int) -> Iterator[Targets | None]:
    """Only an adapter of this rank is trainable inside; on the way out it is merged, and the model is a plain one again.

    A rank of None changes nothing: the weights themselves are trained.
    """
    if rank is None:
        yield None
        return
    trainable = [parameter for parameter in task.model.parameters() if parameter.requires_grad]
    found = inject(task, "unlearning", rank, seed)
    try:
        yield found
    finally:
        merge(task.model)
        for parameter in trainable:
            parameter.requires_grad_(True)


def _modules_run(task: CausalLM) -> set[str]:
    """The names of the layers' modules that are called when the model runs on a few tokens."""
    decoder, called = task.decoder, set[str]()

    def note(name: str) -> Callable[..., None]:
        return lambda *_: called.add(name)

    modules = decoder.layers.named_modules(prefix=decoder.prefix)
    with hooked(module.register_forward_hook(note(name)) for name, module in modules), torch.no_grad():
        task.run_on_few_tokens()
    return called


def _passed_over(model: PreTrainedModel, leaf: str) -> bool:
    """Whether a linear layer's module is never run, so that an adapter on it would be lost: peft knows which."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba

    try:
        _check_lora_target_modules_mamba(LoraConfig(), model, leaf)
    except ValueError:
        return True
    return False
