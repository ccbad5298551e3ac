"""Phases of training over pictures, for any kind of model: order, draws, cost, and going on after an interruption.

Every draw is a function of (seed, name), and a phase that was finished before an interruption is skipped, so that the
same command ends with the same bits.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from expunge.core.order import random_seed
from expunge.errors import DivergedError
from expunge.train.checkpoint import load_latest, save_checkpoint
from expunge.train.phase import Phase

FORWARD, BACKWARD = 1, 2
"cost of one image's passes: the backward pass makes two products where the forward pass makes one"


@dataclass(slots=True)
class Cost:
    """What was spent: image passes (forward 1, backward 2) and seconds."""

    passes: int = 0
    seconds: float = 0.0


def batches(count: int, size: int, seed: int, *names: str | int) -> list[Tensor]:
    """A pass over `count` pictures in random order, as row numbers; a last batch of one picture joins the one before.

    (Batch normalisation has no variance of one picture.)
    """
    order = torch.from_numpy(np.random.default_rng(random_seed(seed, *names)).permutation(count))
    parts = list(order.split(size))
    if size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@dataclass(slots=True, kw_only=True)
class Phases:
    """A model to change, and training it in phases; each kind of model adds what its methods work with.

    Attributes:
        task: has the `model`, which is changed in place, and its `device`; `batch(pictures, rows, **known)`, whose result
            has `rows`; and `twin(model)`, the same task with another model.
        checkpoints: folder for the state between epochs; None keeps none.
        progress: told (phase, share done, loss).
    """

    task: Any
    seed: int
    checkpoints: Path | None = None
    save_seconds: float = 60.0
    progress: Callable[[str, float, float], None] | None = None
    cost: Cost = field(default_factory=Cost)
    losses: dict[str, list[float]] = field(default_factory=dict)
    _original: Any = None
    _finished: list[str] = field(default_factory=list)
    _memories: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _saved: float = field(default_factory=time.monotonic)
    _resumed: tuple[int, dict[str, Tensor], dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        self._original = self.frozen(self.model)
        if self.checkpoints is not None:
            self._resumed = load_latest(self.checkpoints)
            if self._resumed is not None:
                self._finished = list(self._resumed[2]["finished"])
                for key, value in _below(self._resumed[1], "memory/").items():
                    name, _, place = key.partition("/")
                    self._memories.setdefault(name, {})[place] = value.to(self.task.device)

    @property
    def model(self) -> nn.Module:
        return self.task.model

    def frozen(self, model: nn.Module) -> Any:
        """The task with a frozen copy of a model as it is now, in evaluation mode."""
        return self.task.twin(copy.deepcopy(model).eval().requires_grad_(False))

    def generator(self, *names: str | int) -> torch.Generator:
        """Random numbers of a named draw: the same after a resumption, others for another seed."""
        return torch.Generator().manual_seed(random_seed(self.seed, *names))

    def kept(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What a method made of the model as it was at this point: made once, and after a resumption what was made then.

        Args:
            name: unique in a method, and no phase's `continues`; without a slash.
        """
        if name not in self._memories:
            self._memories[name] = {place: value.detach().clone() for place, value in make().items()}
        return self._memories[name]

    def batches_of(self, pictures: Any, size: int, *names: str | int) -> Iterator[Any]:
        """One pass over a set in an order of its own."""
        for rows in batches(len(pictures), size, self.seed, *names):
            yield self.task.batch(pictures, rows)

    def gradients(
        self,
        pictures: Any,
        loss: Callable[[Any], Tensor],
        *,
        batch_size: int,
        name: str = "gradients",
        limit: int | None = None,
    ) -> Iterator[list[Tensor]]:
        """Gradients of `loss` by batch, in evaluation mode, in the order of `trainable()`; weights stay as they are."""
        mode = self.model.training
        self.model.eval()
        parameters = self.trainable()
        try:
            for number, batch in enumerate(self.batches_of(pictures, batch_size, name)):
                if limit is not None and number >= limit:
                    return
                yield list(torch.autograd.grad(loss(batch), parameters))
                self.cost.passes += (FORWARD + BACKWARD) * len(batch.rows)
        finally:
            self.model.train(mode)

    def trainable(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def train(
        self,
        phase: Phase,
        pictures: Any,
        loss: Callable[..., Tensor],
        *,
        beside: Any = None,
        parameters: Iterable[nn.Parameter] | None = None,
        still: Sequence[nn.Module] = (),
        known: dict[str, Tensor] | None = None,
        known_beside: dict[str, Tensor] | None = None,
        after_backward: Callable[[], None] | None = None,
        after_step: Callable[[], None] | None = None,
        before_epoch: Callable[[int], None] | None = None,
        extra_passes: float = 0.0,
        beside_passes: float = FORWARD + BACKWARD,
        share: float = 1.0,
    ) -> None:
        """Train with SGD or Adam over a set.

        Args:
            loss: of a batch (and, where `beside` is given, of a batch of that set too): a scalar.
            beside: a second set; it is gone round as often as the first needs it.
            parameters: what is trained; everything trainable where absent.
            still: layers held in evaluation mode, so that running figures of frozen ones stay as they are.
            known, known_beside: (n, ...) tensors of the sets, looked up by batch (`reference_nll`, `soft_weights`).
            after_backward: may change gradients; after_step: may change weights (frozen ones are put back there).
            before_epoch: called with the number of the epoch about to start.
            extra_passes: further passes an image, where `loss` runs the model more than once.
            beside_passes: passes an image of `beside`; 1 where `loss` only looks at the outputs.
            share: of the model's work that `loss` has it do, where it runs a part of the model only.

        Raises:
            DivergedError: the loss is not finite.
        """
        if phase.name in self._finished:
            if self._resumed is not None and self._resumed[2]["phase"] is None and phase.name == self._finished[-1]:
                self._take_up(self._resumed)  # now, so that what the method does next is done to these weights
            return
        trained = list(parameters) if parameters is not None else self.trainable()
        optimizer = _optimizer(phase, trained)
        first = self._go_on(phase, optimizer)
        per_epoch = len(batches(len(pictures), phase.batch_size, 0))
        steps = phase.steps or max(1, round(phase.epochs * per_epoch))
        begun = time.monotonic()
        others = self._around(beside, phase, first) if beside is not None else None
        self._set_mode(phase, still)
        order: list[Tensor] = []
        for step in range(first, steps):
            epoch, index = divmod(step, per_epoch)
            if index == 0 or not order:
                order = batches(len(pictures), phase.batch_size, self.seed, phase.name, epoch)
            if index == 0 and before_epoch is not None:
                before_epoch(epoch)
                self._set_mode(phase, still)
            torch.manual_seed(random_seed(self.seed, phase.name, "step", step) % (1 << 31))  # dropout
            for group in optimizer.param_groups:
                group["lr"] = phase.rate(step, steps)
            batch = self.task.batch(pictures, order[index], **(known or {}))
            passes = (FORWARD + BACKWARD + extra_passes) * len(batch.rows)
            if beside is not None and others is not None:
                other = self.task.batch(beside, next(others), **(known_beside or {}))
                passes += (beside_passes + extra_passes) * len(other.rows)
                value = loss(batch, other)
            else:
                value = loss(batch)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            if after_backward is not None:
                after_backward()
            if phase.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(trained, phase.max_grad_norm)
            figure = float(value.detach())
            if not math.isfinite(figure):
                raise DivergedError(
                    f"stopped in phase {phase.name}, step {step + 1}: the loss is not a number",
                    seen=figure,
                    next_step="lower the method's learning rate (expunge methods NAME lists its settings)",
                )
            optimizer.step()
            if after_step is not None:
                with torch.no_grad():
                    after_step()
            self.cost.passes += round(share * passes)
            self.losses.setdefault(phase.name, []).append(figure)
            if self.progress is not None:
                self.progress(phase.name, (step + 1) / steps, figure)
            last = index == per_epoch - 1  # only between epochs: what `before_epoch` set up is set up again
            if self.checkpoints is not None and last and time.monotonic() - self._saved > self.save_seconds:
                self._save(phase.name, step + 1, optimizer)
        self.cost.seconds += time.monotonic() - begun
        self._finished.append(phase.name)
        if phase.continues:
            self._memories[phase.continues] = _memory(optimizer)
        self.model.eval()
        if self.checkpoints is not None and time.monotonic() - self._saved > self.save_seconds:
            self._save(None, 0, optimizer)

    def _set_mode(self, phase: Phase, still: Sequence[nn.Module]) -> None:
        self.model.train(phase.mode == "train")
        for module in still:
            module.eval()

    def _around(self, pictures: Any, phase: Phase, first: int) -> Iterator[Tensor]:
        """Batches of the second set, round and round, from where step `first` stands."""
        size = phase.beside_batch_size or phase.batch_size
        per_round = len(batches(len(pictures), size, 0))
        number = first
        while True:
            round_, index = divmod(number, per_round)
            yield batches(len(pictures), size, self.seed, phase.name, "beside", round_)[index]
            number += 1

    def _go_on(self, phase: Phase, optimizer: torch.optim.Optimizer) -> int:
        """Where a checkpoint stands in this phase, take it up; the step to go on at."""
        if self._resumed is None or self._resumed[2]["phase"] != phase.name:
            if phase.continues in self._memories:
                _remember(optimizer, self._memories[phase.continues])
            return 0
        tensors, state = self._take_up(self._resumed)
        _remember(optimizer, _below(tensors, "optimizer/"))
        return int(state["step"])

    def _take_up(
        self, resumed: tuple[int, dict[str, Tensor], dict[str, Any]]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        _, tensors, state = resumed
        self._resumed = None
        with torch.no_grad():
            for key, value in self.model.state_dict().items():
                value.copy_(tensors[f"model/{key}"])
        self.cost = Cost(**state["cost"])
        self.losses = {phase: list(values) for phase, values in state["losses"].items()}
        return tensors, state

    def _save(self, phase: str | None, step: int, optimizer: torch.optim.Optimizer) -> None:
        assert self.checkpoints is not None
        tensors = {f"model/{key}": value for key, value in self.model.state_dict().items()}
        if phase is not None:
            tensors |= {f"optimizer/{place}": value for place, value in _memory(optimizer).items()}
        for name, memory in self._memories.items():
            tensors |= {f"memory/{name}/{place}": value for place, value in memory.items()}
        state = {
            "phase": phase,
            "step": step,
            "finished": self._finished,
            "cost": {"passes": self.cost.passes, "seconds": self.cost.seconds},
            "losses": self.losses,
        }
        done = sum(len(values) for values in self.losses.values())
        save_checkpoint(self.checkpoints, done, tensors, state)
        self._saved = time.monotonic()


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _memory(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer keeps of each parameter, by `place of the parameter/name`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{number}/{key}": value
        for number, parameter in enumerate(parameters)
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _remember(optimizer: torch.optim.Optimizer, memory: dict[str, Tensor]) -> None:
    for number, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        kept = _below(memory, f"{number}/")
        if kept:  # copies: the memory of a phase that is over stays as it was
            optimizer.state[parameter] = {key: value.to(parameter.device, copy=True) for key, value in kept.items()}


def _optimizer(phase: Phase, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    rate, decay = phase.learning_rate, phase.weight_decay
    if phase.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=phase.momentum, weight_decay=decay, fused=True)
    kind = torch.optim.Adam if phase.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, betas=phase.betas, weight_decay=decay, fused=True)
