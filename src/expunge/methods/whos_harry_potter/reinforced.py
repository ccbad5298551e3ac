"""The reinforced model: the base trained further on the target, as an adapter on the same weights or as a full copy."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from expunge.errors import StorageError
from expunge.kinds.language.lora import Adapter, inject, is_adapters, switch
from expunge.kinds.language.recipe import Reinforcement, Training
from expunge.kinds.language.session import LanguageWork, Log
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.methods.fine_tune import FineTune

ADAPTER = "reinforced"


class Reinforced:
    """A base model and its reinforced twin.

    With an adapter there is one copy of the weights, and the twin is the adapter switched on.
    """

    def __init__(self, task: CausalLM, settings: Reinforcement, seed: int) -> None:
        self.base, self.settings = task, settings
        self.digest = ""
        "source of its weights: the name of the stage they were read from"
        self.left: str | None = None
        "modules without an adapter, in a sentence"
        if settings.adapter:
            self.left = inject(task, ADAPTER, Adapter(rank=settings.rank), seed).note()
            self._twin = task
        else:
            self._twin = CausalLM(copy.deepcopy(task.model), task.tokenizer, task.autocast)

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
        bf16: Any,
        checkpointing: bool,
        seed: int,
        checkpoints: Path,
        log: Log,
        on_progress: Callable[[int, int, dict[str, Any]], None] | None,
    ) -> None:
        """Fine-tune the twin on the target's own tokens."""
        settings = self.settings.model_dump(exclude={"adapter", "rank"})
        training = Training(**settings, bf16=bf16, gradient_checkpointing=checkpointing, probe_steps=10)
        with self.twin() as task:
            work = LanguageWork(
                task=task,
                forget=target,  # not drawn
                retain=target,
                training=training,
                seed=seed,
                checkpoints=checkpoints,
                log=log,
                on_progress=on_progress,
            )
            work.carry_out(FineTune())

    def _weights(self) -> dict[str, torch.Tensor]:
        # By name: a disabled adapter's parameters do not require gradients.
        named = self._twin.model.named_parameters()
        adapter = self.settings.adapter
        return {name: p.detach().cpu().contiguous() for name, p in named if not adapter or is_adapters(name, ADAPTER)}

    def save(self, folder: Path) -> None:
        save_file(self._weights(), folder / "reinforced.safetensors")

    def load(self, folder: Path) -> None:
        """Read the output of `save`.

        Raises:
            StorageError: the file does not contain this model's reinforced weights.
        """
        path = folder / "reinforced.safetensors"
        self.digest = folder.name
        weights, held = load_file(path), self._weights()
        if weights.keys() != held.keys():
            raise StorageError(f"{path} is damaged", next_step=f"delete {folder} and run the same command again")
        with torch.no_grad():
            for name, parameter in self._twin.model.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])
        self._switch(False)
