"""LoRA adapters: added to the layers of the text tower, switched, merged into the weights that they adapt."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from expunge.errors import ModelError, RecipeError, first_line
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.task import CausalLM
from expunge.ops.narrow import modules_run, widen
from expunge.ops.quantised import Quantised, put_back
from expunge.train.parts import parts_of

ADAPTER = "unlearning"
"name of the adapter that a method trains"
FUSED = 3
"dimensions of a parameter that holds a matrix for each expert"


@dataclass(frozen=True, slots=True)
class Targets:
    """Where adapters are added, by name in the model."""

    modules: tuple[str, ...]
    "linear layers"
    parameters: tuple[str, ...]
    "weights that hold a matrix for each expert"
    left: tuple[str, ...]
    """linear layers without an adapter: their module is bypassed and its weights are read directly, as in Mamba's
    kernels"""

    def note(self) -> str | None:
        """Note for the report on matrices without an adapter."""
        if not self.left:
            return None
        leaves = ", ".join(sorted({name.rpartition(".")[2] for name in self.left}))
        return (
            f"no adapter was added to {len(self.left)} of the layers' matrices ({leaves}): the model bypasses their "
            "modules, as Mamba's kernels do, so that an adapter would be lost"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """How an adapter is made (Hu et al. 2021, arXiv:2106.09685).

    Attributes:
        rank: r of its matrices B (outputs, r) and A (r, inputs); of fused experts, for each expert.
        alpha: a weight W becomes W + alpha / r B A; with rslora W + alpha / sqrt(r) B A (arXiv:2312.03732). Default: 2
            r, as in table 11 of the first paper.
        targets: regular expression of the names of the matrices that get one; None: all.
        dropout: share of the inputs of A that is dropped while it is trained.
        variant: "dora" learns the length of each row of the weight too (arXiv:2402.09353, equation 5).
    """

    rank: int
    alpha: float | None = None
    targets: str | None = None
    dropout: float = 0.0
    variant: str = "lora"

    @classmethod
    def of(cls, training: Training) -> Adapter | None:
        """The recipe's adapter, if it has one."""
        if training.adapter_rank is None:
            return None
        return cls(
            rank=training.adapter_rank,
            alpha=training.adapter_alpha,
            targets=training.adapter_targets,
            dropout=training.adapter_dropout,
            variant=training.adapter_variant,
        )


def targets(task: CausalLM, pattern: str | None = None) -> Targets:
    """Every matrix of the text tower's layers; neither embeddings, nor the head, nor another tower.

    Args:
        pattern: regular expression searched in names; None: all.

    Raises:
        ModelError: the model's layers cannot be found, or have no matrix that an adapter can be added to.
        RecipeError: no name matches the pattern.
    """
    decoder = task.decoder
    run = modules_run(task.model, task.run_on_few_tokens)
    modules: list[str] = []
    parameters: list[str] = []
    left: list[str] = []
    for name, module in decoder.layers.named_modules(prefix=decoder.prefix):
        if isinstance(module, nn.Linear | Conv1D):
            # An expert that no token was sent to is not run either, but neither is its parent module.
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
    if pattern is None:
        return Targets(tuple(modules), tuple(parameters), tuple(left))
    chosen = [[each for each in names if re.search(pattern, each)] for names in (modules, parameters)]
    if not any(chosen):
        raise RecipeError(
            "training.adapter_targets names no matrix of the model's layers",
            seen=pattern,
            allowed=", ".join([*modules, *parameters][:8]) + ", ...",
        )
    return Targets(tuple(chosen[0]), tuple(chosen[1]), tuple(left))


def inject(task: CausalLM, name: str, wanted: Adapter, seed: int) -> Targets:
    """Add an adapter to the model; only its matrices are trainable afterwards. They are float32 whatever the model's
    dtype.

    Args:
        seed: seed of the adapter's initialisation.
    """
    # Through peft itself: transformers' `add_adapter` sometimes requires a peft that is not yet released.
    from peft import LoraConfig, inject_adapter_in_model

    found = targets(task, wanted.targets)
    task.stored = None
    torch.manual_seed(seed)
    config = LoraConfig(
        r=wanted.rank,
        lora_alpha=wanted.alpha or 2 * wanted.rank,
        lora_dropout=wanted.dropout,
        use_rslora=wanted.variant == "rslora",
        use_dora=wanted.variant == "dora",
        target_modules="|".join(map(re.escape, found.modules)) or [],
        target_parameters=list(found.parameters) or None,
        # As peft itself would set it, with a warning.
        fan_in_fan_out=any(isinstance(task.model.get_submodule(each), Conv1D) for each in found.modules),
    )
    try:
        inject_adapter_in_model(config, task.model, name)
    except (ValueError, NotImplementedError) as error:  # fused experts support neither dropout nor magnitudes
        raise RecipeError(
            f"peft cannot add this adapter to {type(task.model).__name__}",
            seen=first_line(error),
            next_step="leave training.adapter_dropout and training.adapter_variant out, or narrow training.adapter_targets",
        ) from error
    for key, parameter in task.model.named_parameters():
        if is_adapters(key, name):  # peft gives it the dtype of the weights
            parameter.data = parameter.data.float()
    return found


def is_adapters(key: str, name: str) -> bool:
    """Whether a parameter is one of an adapter's."""
    return f".{name}." in key


def adapted(model: nn.Module) -> dict[str, Any]:
    """The layers that peft's adapters were added to, by name."""
    if "peft" not in sys.modules:  # takes seconds to import, and without it there are no adapters
        return {}
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}


def switch(model: nn.Module, on: bool) -> None:
    """Switch every adapter on or off."""
    for module in adapted(model).values():
        module.enable_adapters(on)


def adapter_inputs(model: nn.Module) -> dict[str, nn.Parameter]:
    """A (rank, inputs) of the adapter that a method trains, by the name of the linear layer, without adapters."""
    end = f".lora_A.{ADAPTER}.weight"
    return {key[: -len(end)]: each for key, each in model.named_parameters() if key.endswith(end)}


def adapted_weights(model: nn.Module) -> dict[str, str]:
    """The name of the weight that each of the adapters' parameters changes, as without adapters."""
    found: dict[str, str] = {}
    for name, module in adapted(model).items():
        weight = f"{name}.{getattr(module, 'parameter_name', 'weight')}".replace(".base_layer", "")
        own = [key for key, _ in module.named_parameters(prefix=name) if key.startswith(f"{name}.lora_")]
        found |= dict.fromkeys(own, weight)
    return found


def merge(model: PreTrainedModel, originals: Callable[[], nn.Module] | None = None) -> None:
    """Add the adapters to the weights, and make the model a plain one again.

    In float32: a model of another dtype is converted first, since rounding to fewer digits would undo a part of
    the change. The dtype to save in is chosen when saving, by the size of the change. The model is moved to the CPU
    for this: as float32 it may not fit on a device.

    Args:
        originals: the same model without adapters and unquantised, if this one's weights are quantised.
    """
    wrapped = adapted(model)
    if any(p.dtype != torch.float32 for p in model.parameters()):
        model.to("cpu")
        if any(isinstance(module, Quantised) for module in model.modules()):
            assert originals is not None
            put_back(model, originals())
        widen(model)
    for module in wrapped.values():
        module.enable_adapters(True)
        module.merge()
    _unwrap(model, wrapped)


def _unwrap(model: nn.Module, wrapped: dict[str, Any]) -> None:
    """Restore the model's own layers instead of peft's wrappers."""
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
def passing_adapter(
    task: CausalLM, weights: Collection[str], rank: int, alpha: float, seed: int
) -> Iterator[list[nn.Parameter]]:
    """Context with an adapter on some weights, detached at the end; yields its parameters.

    The weights themselves do not change. If an adapter can be added to none of them, all matrices
    of the layers get one.

    Args:
        weights: names of parameters.
        seed: seed of the adapter's initialisation.
    """
    able = targets(task)
    chosen = [each for each in able.modules if f"{each}.weight" in weights]
    chosen += [each for each in able.parameters if each in weights]
    pattern = f"^({'|'.join(map(re.escape, chosen))})$" if chosen else None
    trainable = [parameter for parameter in task.model.parameters() if parameter.requires_grad]
    inject(task, ADAPTER, Adapter(rank=rank, alpha=alpha, targets=pattern), seed)
    try:
        yield [parameter for key, parameter in task.model.named_parameters() if is_adapters(key, ADAPTER)]
    finally:
        _unwrap(task.model, adapted(task.model))
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextlib.contextmanager
def adapter(
    task: CausalLM, wanted: Adapter | None, seed: int, originals: Callable[[], nn.Module] | None = None
) -> Iterator[Targets | None]:
    """Context in which only an adapter is trainable; at the end it is merged, and the model is a plain one again.

    Args:
        wanted: None changes nothing, and the weights themselves are trained.
        seed: seed of the adapter's initialisation.
        originals: as in `merge`.
    """
    if wanted is None:
        yield None
        return
    trainable = [parameter for parameter in task.model.parameters() if parameter.requires_grad]
    found = inject(task, ADAPTER, wanted, seed)
    done = False
    try:
        yield found
        done = True
    finally:
        # After an error nothing is read from disk again; a model that a user gave is plain again in any case.
        # Sharded weights are merged when saving, one after the other.
        if (done or originals is None) and parts_of(task.model) is None:
            merge(task.model, originals)
            for parameter in trainable:
                parameter.requires_grad_(True)


def _passed_over(model: PreTrainedModel, leaf: str) -> bool:
    """Whether a linear layer's module is never run, so that an adapter on it would be lost: peft knows which."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba

    try:
        _check_lora_target_modules_mamba(LoraConfig(), model, leaf)
    except ValueError:
        return True
    return False
