"""Try a recipe with several sets of options: the cost of each."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from expunge.errors import ModelError, RecipeError, first_line
from expunge.kinds.language.narrow_training import trains_narrow, weight_type
from expunge.kinds.language.plan import depth
from expunge.kinds.language.plan.devices import Device
from expunge.kinds.language.plan.model import Amount, PlannedModel
from expunge.kinds.language.plan.options import cheaper, with_fields
from expunge.kinds.language.plan.signals import NotPlannedError
from expunge.kinds.language.plan.stages import WIDE, Stage, Work, stages
from expunge.kinds.language.plan.step import CrossEntropy, Setting, Taken
from expunge.kinds.language.recipe import Recipe, Training
from expunge.kinds.language.signals.registry import signals_of
from expunge.ops.quantised import has_bitsandbytes
from expunge.runs.method import Method

ONE = Amount(1, 1, "")
"if only memory is wanted: amounts of text affect time and disk"
VALUES = (DataDependentOutputException, DynamicOutputShapeException)
"torch's errors for a step that depends on values"
IMPOSSIBLE = NotPlannedError, ModelError, RecipeError
"errors of options that do not suit the model: it has no matrices to quantise, or none that an adapter can be added to"
NOT_TRIED = (
    "a base in 8 or 4 bits was not tried, as that needs the extra bitsandbytes: pip install 'expunge[bitsandbytes]'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A set of options, and the cost of the run with it."""

    fields: dict[str, Any]
    work: Work
    stages: list[Stage]
    fits: bool

    @property
    def peak(self) -> int:
        return max(stage.peak for stage in self.stages)


class Maker:
    """Makes the stages of a recipe with several sets of options; shared parts are made once."""

    def __init__(
        self,
        recipe: Recipe,
        model: PlannedModel,
        method: Method,
        device: Device,
        amounts: tuple[Amount, Amount] = (ONE, ONE),
    ) -> None:
        self.recipe, self.model, self.method, self.device, self.amounts = recipe, model, method, device, amounts
        self.look = depth.of_looking(self._setting(recipe))
        self.reinforces = any(signal.reinforced for signal in signals_of(method.carried_out))
        self._reinforced: dict[tuple[int, bool], Taken] = {}

    def made(self, fields: dict[str, Any]) -> Tried:
        """The cost of the run with these fields changed.

        Raises:
            NotPlannedError: a step of it depends on values.
        """
        recipe = with_fields(self.recipe, fields)
        setting = self._setting(recipe)
        stored = self.look.numbers["weights"] * self.model.stored.itemsize
        work = Work(
            recipe=recipe,
            setting=setting,
            forget=self.amounts[0],
            retain=self.amounts[1],
            step=_step(setting),
            look=self.look,
            reinforced=self._reinforcing(recipe) if self.reinforces else None,
            stored=stored,
            main_memory=self.device.main_memory,
        )
        found = stages(work)
        return Tried(
            fields=fields, work=work, stages=found, fits=all(stage.peak <= self.device.usable for stage in found)
        )

    def search(self, given: Tried) -> list[Tried]:
        """Try cheaper options until the run fits; those that cannot fit are skipped. If none can, the last is tried.

        Without bitsandbytes nothing is quantised, and no such option is tried.
        """
        # Weights stored in another dtype would be rounded before training; sharded ones are trained in float32.
        narrow = self.model.stored == torch.bfloat16 and trains_narrow(self.method) and self.device.fsdp is None
        every = [fields for fields in cheaper(self.recipe, narrow) if fields]
        if self.device.fsdp is not None:  # moments in 8 bits are not sharded
            every = [fields for fields in every if "training.optim" not in fields]
        if not has_bitsandbytes():
            every = [fields for fields in every if "training.quantization" not in fields]
        numbers = given.work.step.numbers
        # Weights, gradients and moments do not depend on the batch.
        moments = 2 * (WIDE if given.work.setting.training.optim == "adamw_torch" else 1)
        gradient = weight_type(given.work.setting.training).itemsize
        fixed = numbers["weight_bytes"] + (gradient + moments) * numbers["trained"]
        if self.device.fsdp is not None:
            fixed = 0 if self.device.fsdp == "offload" else fixed // self.device.count
        floor = max(stage.peak for stage in given.stages if not stage.trains)
        if floor > self.device.usable:  # measuring takes as much with every option
            every = every[-1:]
        elif fixed > self.device.usable:
            less = {"training.adapter_rank", "training.quantization", "training.optim"}
            every = [each for each in every if less & each.keys()]
        tried, passed_over = [given], []
        for fields in every:
            if self._least(given, fields) > self.device.usable:
                passed_over.append(fields)
                continue
            try:
                tried.append(self.made(fields))
            except IMPOSSIBLE:
                continue
            if tried[-1].fits:
                return tried
        for fields in passed_over:  # one of them may still take the least
            if self._least(given, fields) < min(each.peak for each in tried):
                with suppress(*IMPOSSIBLE):
                    tried.append(self.made(fields))
        return tried

    def _least(self, given: Tried, fields: dict[str, Any]) -> int:
        """Bytes that weights, gradients and moments take with these fields, whatever the batches are.

        It is 0 where that is not known without a step.
        """
        training, fsdp = with_fields(self.recipe, fields).training, self.device.fsdp
        if fsdp == "offload" or (training.adapter_rank is not None and self.method.has_loss()):
            return 0
        numbers, size = given.work.step.numbers, weight_type(training).itemsize
        moments = 2 * (WIDE if training.optim == "adamw_torch" else 1)
        whole = size * numbers["weights"] + (size + moments) * numbers["trained"]
        return whole // (1 if fsdp is None else self.device.count)

    def _setting(self, recipe: Recipe) -> Setting:
        bf16 = recipe.training.bf16
        return Setting(
            model=self.model.kind,
            narrow=self.model.narrow,
            method=self.method,
            training=recipe.training,
            block_size=recipe.data.block_size,
            bf16=self.device.bf16 if bf16 == "auto" else bool(bf16),
            processes=self.device.count,
            fsdp=self.device.fsdp,
            divides=self.model.divides,
        )

    def _reinforcing(self, recipe: Recipe) -> Taken:
        """A step of the reinforced model: an adapter on the weights, or a copy of them."""
        settings = recipe.reinforcement
        size, checkpointing = settings.per_device_train_batch_size, recipe.training.gradient_checkpointing
        if (size, checkpointing) not in self._reinforced:
            rank = settings.rank if settings.adapter else None
            training = Training(
                per_device_train_batch_size=size,
                gradient_accumulation_steps=settings.gradient_accumulation_steps,
                adapter_rank=rank,
                gradient_checkpointing=checkpointing,
            )
            setting = self._setting(recipe)
            own = replace(setting, narrow=setting.looked_at, method=CrossEntropy(), training=training)
            self._reinforced[size, checkpointing] = depth.of_training(own)
        return self._reinforced[size, checkpointing]


def _step(setting: Setting) -> Taken:
    """A step with the method's own loss; with cross-entropy of its sets if that depends on values."""
    stands = replace(setting, method=CrossEntropy(retain_weight=float(setting.method.draws_retain)))
    if not setting.method.has_loss():
        return depth.of_training(stands.with_training(adapter_rank=None))
    try:
        return depth.of_training(setting)
    except (NotPlannedError, *VALUES):
        pass
    try:
        return depth.of_training(stands)
    except (RuntimeError, *VALUES) as error:
        raise NotPlannedError(
            f"the cost of a step of {type(setting.model.config).__name__} cannot be planned without values",
            seen=first_line(error),
            next_step="docs/your_model_and_gpu.md lists the bytes of a parameter",
        ) from error
