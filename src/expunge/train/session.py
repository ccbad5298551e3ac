"""A session: a model that a method changes in phases, with its operations, for every kind of model.

Every draw is a function of (seed, name), and a phase that was finished before an interruption is skipped, so that the
same command ends with the same bits.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.order import Order, random_seed, shuffled
from expunge.core.processes import agreed, is_first, summed, world
from expunge.train.cache import cached_there, read_cached, write_cached
from expunge.train.callback import Callback, Report
from expunge.train.checkpoint import Checkpoints
from expunge.train.gradients import OwnGradient
from expunge.train.loop import Stream, train
from expunge.train.phase import Phase

FORWARD, BACKWARD = 1, 2
"cost of one image's passes: the backward pass has two products for each one of the forward pass"


@dataclass(slots=True)
class Cost:
    """The cost: image passes (forward 1, backward 2) and seconds."""

    passes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """The cost of a step, if not a forward and a backward pass of each picture.

    Attributes:
        extra: further passes an image, if the loss runs the model more than once.
        paired: passes an image of the paired dataset; 1 if the loss only looks at the outputs.
        share: share of the model's work in the loss, if it only runs a part of the model.
    """

    extra: float = 0.0
    paired: float = FORWARD + BACKWARD
    share: float = 1.0

    def of(self, sizes: Sequence[int]) -> int:
        """Passes of a step that saw this many pictures of each dataset."""
        each = (FORWARD + BACKWARD + self.extra, self.paired + self.extra)
        return round(self.share * sum(size * passes for size, passes in zip(sizes, each, strict=False)))


@dataclass(frozen=True, slots=True)
class WithKnown:
    """A dataset and precomputed signals of each of its examples.

    Attributes:
        known: (n, ...) tensors, looked up by batch: `reference_nll`, `soft_weights`, `keys`, `target`.
    """

    dataset: Any
    known: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.dataset)

    def knowing(self, **known: Tensor) -> WithKnown:
        """The same dataset with further signals."""
        return WithKnown(self.dataset, self.known | known)

    def take(self, rows: Tensor) -> WithKnown:
        """Some of the examples, with their signals."""
        return WithKnown(self.dataset.take(rows), {name: values[rows] for name, values in self.known.items()})


@dataclass(slots=True, kw_only=True)
class Session:
    """A model to change, and training it in phases; each kind of model adds its own operations.

    Attributes:
        task: has the `model`, which is changed in place, and its `device`; `batch(dataset, rows, **known)`, whose
            result has `rows`; and `twin(model)`, the same task with another model.
        checkpoints: folder for resuming; None saves nothing.
        save_seconds: a checkpoint is written at most this often.
        on_progress: called with (phase, share done, loss) after each step.
    """

    task: Any
    seed: int
    checkpoints: Path | None = None
    save_seconds: float = 60.0
    on_progress: Callable[[str, float, float], None] | None = None
    cost: Cost = field(default_factory=Cost)
    losses: dict[str, list[float]] = field(default_factory=dict)
    _original: Any = None
    _begun: list[tuple[int, int]] = field(default_factory=list)
    _cached: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _saved: Checkpoints = field(init=False)

    def __post_init__(self) -> None:
        self._saved = Checkpoints(self.checkpoints, self.save_seconds, whole=True)
        self._begun = self._versions()

    @property
    def model(self) -> nn.Module:
        return self.task.model

    @property
    def original(self) -> Any:
        """The task with the original model, frozen and in evaluation mode; copied on first access.

        Raises:
            RuntimeError: first accessed only after the model was changed.
        """
        if self._original is None:
            if self._versions() != self._begun:
                raise RuntimeError("the model was changed before its original was copied: access `original` first")
            self._original = self.frozen(self.model)
        return self._original

    def _versions(self) -> list[tuple[int, int]]:
        """The model's tensors, and how often each was written to."""
        return [(id(value), value._version) for value in (*self.model.parameters(), *self.model.buffers())]

    def frozen(self, model: nn.Module) -> Any:
        """The task with a frozen copy of the current model, in evaluation mode."""
        return self.task.twin(copy.deepcopy(model).eval().requires_grad_(False))

    def generator(self, *names: str | int) -> torch.Generator:
        """Random numbers of a named draw: the same in a resumed run, different for another seed."""
        return torch.Generator().manual_seed(random_seed(self.seed, *names))

    def cached(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """A cached result of a method at this point, in main memory: computed once, and read in a resumed run.

        Args:
            name: unique in a method.
        """
        if name not in self._cached:
            if self.checkpoints is not None and agreed(cached_there(self.checkpoints, name)):
                self._cached[name], spent = read_cached(self.checkpoints, name)
                self.cost.passes += spent["passes"]
                self.cost.seconds += spent["seconds"]
            else:
                passes, seconds = self.cost.passes, self.cost.seconds
                made = {key: value.detach().cpu().clone() for key, value in make().items()}
                self._cached[name] = made
                if self.checkpoints is not None and is_first():
                    spent = {"passes": self.cost.passes - passes, "seconds": self.cost.seconds - seconds}
                    write_cached(self.checkpoints, name, made, spent)
        return self._cached[name]

    def batches_of(self, dataset: Any, size: int, *names: str | int) -> Iterator[Any]:
        """One pass over a dataset in its own random order."""
        for rows in shuffled(len(dataset), size, self.seed, *names):
            yield self.task.batch(dataset, torch.from_numpy(rows))

    def gradients(
        self,
        dataset: Any,
        loss: Callable[[Any], Tensor],
        *,
        batch_size: int,
        name: str = "gradients",
        limit: int | None = None,
    ) -> Iterator[list[Tensor]]:
        """Gradients of `loss` by batch, in evaluation mode, in the order of `trainable()`; weights do not change."""
        mode = self.model.training
        self.model.eval()
        parameters = self.trainable()
        try:
            for number, batch in enumerate(self.batches_of(dataset, batch_size, name)):
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
        dataset: Any,
        loss: Callable[..., Tensor] | OwnGradient,
        *,
        paired_with: Any = None,
        parameters: Collection[nn.Parameter] | None = None,
        callbacks: Sequence[Callback] = (),
        passes: Passes | None = None,
    ) -> None:
        """Train for a phase, or skip it if it was finished before an interruption.

        Args:
            dataset: an epoch is a pass over it; `WithKnown` if batches hold precomputed signals.
            loss: of a batch (and, with `paired_with`, of a batch of that dataset too): a scalar; or an object that
                computes a step's gradient instead of a loss.
            paired_with: a second dataset; it is cycled as often as needed.
            parameters: parameters to train; default: all trainable ones.
            passes: the cost of a step.

        Raises:
            DivergedError: the loss is not finite.
        """
        callbacks = [*callbacks, _Ledger(self, phase.name, passes or Passes())]
        if self._saved.skips(phase.name, self.model, callbacks):
            return
        streams = [self._stream(dataset, phase.batch_size, phase.name)]
        if paired_with is not None:
            size = phase.paired_batch_size or phase.batch_size
            # The word is kept for compatibility: it seeds the order.
            streams.append(self._stream(paired_with, size, f"{phase.name}/beside"))
        train(
            self.model,
            loss if isinstance(loss, OwnGradient) else lambda *batches: (loss(*batches), {}),
            phase,
            streams,
            checkpoints=self._saved,
            callbacks=callbacks,
            parameters=None if parameters is None else list(parameters),
        )

    def _stream(self, dataset: Any, size: int, name: str) -> Stream:
        known = dataset.known if isinstance(dataset, WithKnown) else {}
        examples = dataset.dataset if isinstance(dataset, WithKnown) else dataset

        def load(rows: Sequence[list[int]], own: Sequence[int]) -> Iterator[tuple[Any, int]]:
            for at in own:
                yield self.task.batch(examples, torch.tensor(rows[at]), **known), len(rows[at])

        return Stream(Order(len(examples), size, self.seed, name), load, means=True)


class _Ledger(Callback):
    """Counts the cost of a phase, and shows its progress."""

    name = "session"

    def __init__(self, session: Session, phase: str, passes: Passes) -> None:
        self.session, self.phase, self.passes = session, phase, passes
        self._counted = 0

    def begin(self, step: int) -> None:
        self._counted = self.session.cost.passes

    def before_epoch(self, epoch: int) -> None:
        self._counted = self.session.cost.passes

    def after_backward(self) -> None:
        if world() > 1:  # the loss counts passes of its own, here of this process's batches alone
            own = self.session.cost.passes - self._counted
            self.session.cost.passes += round(summed([own])[0]) - own

    def after_step(self, report: Report) -> None:
        self.session.cost.passes += self.passes.of(report.sizes)
        self._counted = self.session.cost.passes
        self.session.cost.seconds += report.seconds
        self.session.losses.setdefault(self.phase, []).append(report.figures["loss"])
        if self.session.on_progress is not None:
            self.session.on_progress(self.phase, report.step / report.steps, report.figures["loss"])

    def state(self) -> dict[str, Any]:
        return {"cost": asdict(self.session.cost), "losses": self.session.losses}

    def load_state(self, state: dict[str, Any]) -> None:
        self.session.cost = Cost(**state["cost"])
        self.session.losses = {phase: list(values) for phase, values in state["losses"].items()}
