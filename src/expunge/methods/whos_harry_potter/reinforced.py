"""The reinforced model: the base trained further on the target, as an adapter on the same weights or as a full copy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from expunge.core.processes import is_first
from expunge.errors import StorageError
from expunge.kinds.language.lora import Adapter, inject, is_adapters, switch
from expunge.kinds.language.recipe import Reinforcement, Training
from expunge.kinds.language.session import LanguageWork, Log
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.methods.fine_tune import FineTune
from expunge.train.parts import parts_of
from expunge.train.shards import put, whole

ADAPTER = "reinforced"


class Reinforced:
    """A base model and its reinforced twin.

    With an adapter there is one copy of the weights, and the twin is the adapter switched on. Of several processes each has
    it, or its part of it; they make, train, save and load it together.

    Args:
        copy: what becomes the twin where that is no adapter; default: a copy of the model.
    """

    def __init__(self, task: CausalLM, settings: Reinforcement, seed: int, copy: CausalLM | None = None) -> None:
        self.base, self.settings = task, settings
        self.digest = ""
        "source of its weights: the name of the stage they were read from"
        self.left: str | None = None
        "modules without an adapter, in a sentence"
        if settings.adapter:
            self.left = inject(task, ADAPTER, Adapter(rank=settings.rank), seed).note()
            self._twin = task
        else:
            self._twin = copy or CausalLM(deepcopy(task.model), task.tokenizer, task.autocast)

    @contextlib.contextmanager
    def twin(self) -> Iterator[CausalLM]:
        """The reinforced model, inside the context; outside, `base` is the base model."""
        self._switch(True)
        try:
            yield self._twin
        finally:
            self._switch(False)

    def _switch(self, on: bool) -> None:
        """Switch the adapter, if there is one."""
        if self.settings.adapter:
            switch(self.base.model, on)

    def train(
        self,
        target: TokenTable,
        unlearning: Training,
        seed: int,
        checkpoints: Path,
        log: Log,
        on_progress: Callable[[int, int, dict[str, Any]], None] | None,
    ) -> None:
        """Fine-tune the twin on the target's own tokens.

        Args:
            unlearning: what is said of the training that follows, where it is said of both: arithmetic, memory, checkpoints.
        """
        settings = self.settings.model_dump(exclude={"adapter", "rank"})
        both = unlearning.model_dump(include={"bf16", "gradient_checkpointing", "save_seconds"})
        training = Training(**settings, **both, probe_steps=10)
        with self.twin() as task:
            work = LanguageWork(
                task=task,
                forget=target,  # not drawn
                retain=target,
                training=training,
                rate_field="reinforcement.learning_rate",
                seed=seed,
                checkpoints=checkpoints,
                log=log,
                on_progress=on_progress,
            )
            work.carry_out(FineTune())

    def to(self, device: torch.device) -> None:
        """Put both models on a device to be looked at: what is trained in parts, and cannot be read so, waited elsewhere."""
        for task in (self.base, self._twin):
            if parts_of(task.model) is None:
                task.model.to(device)

    def _own(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that are the twin's own."""
        # By name: a disabled adapter's parameters do not require gradients.
        named = self._twin.model.named_parameters()
        return {name: p for name, p in named if not self.settings.adapter or is_adapters(name, ADAPTER)}

    def save(self, folder: Path) -> None:
        """Write the twin's own weights; the first process does."""
        weights = {}
        for name, parameter in self._own().items():
            value = whole(parameter.detach())
            if is_first():
                weights[name] = value.cpu().contiguous()
        if is_first():
            save_file(weights, folder / "reinforced.safetensors")

    def load(self, folder: Path) -> None:
        """Read the output of `save`.

        Raises:
            StorageError: the file does not contain this model's reinforced weights.
        """
        path = folder / "reinforced.safetensors"
        self.digest = folder.name
        own = self._own()
        with safe_open(path, framework="pt") as weights, torch.no_grad():
            if {*weights.keys()} != own.keys():
                raise StorageError(f"{path} is damaged", next_step=f"delete {folder} and run the same command again")
            for name, parameter in own.items():
                put(parameter, weights.get_tensor(name))
        self._switch(False)
