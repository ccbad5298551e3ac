"""Loops that a method writes itself, made of rounds: an interrupted run resumes between two of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from expunge.core.order import Order, random_seed
from expunge.core.processes import agreed, is_first
from expunge.errors import DivergedError
from expunge.kinds.language.token_dataset import TokenTable
from expunge.train.cache import file_name
from expunge.train.checkpoint import load_latest, save_checkpoint
from expunge.train.loop import Trained
from expunge.train.step import Batch

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork


@dataclass(frozen=True, slots=True)
class Round:
    """What a round of a method's own loop did: figures to log, the tokens it saw, and why it was the last one, if it
    was."""

    figures: dict[str, float]
    seen: int
    stop: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A set in random order, batch by batch."""

    table: TokenTable
    order: Order
    device: torch.device

    def __len__(self) -> int:
        """Batches in a pass."""
        return self.order.batches_per_epoch

    def batch(self, number: int, normaliser: float | None = None) -> Batch:
        """Batch `number`, counted over all passes; sums are divided by its own labelled tokens if nothing is given."""
        return self.table.batch(self.order.batch(number), normaliser).to(self.device)


class Meter:
    """Counts the batches of a method outside of rounds, shows progress, and sums up the cost.

    Args:
        name: of the work, for errors.
        steps: batches in all.
        before: number of those before this part.
    """

    def __init__(self, work: LanguageWork, name: str, steps: int, before: int = 0) -> None:
        self.work, self.name, self.steps, self.before = work, name, steps, before
        self.done = self.seen = 0
        self.start = time.monotonic()

    def add(self, forget_loss: float, size: int) -> None:
        """Count a batch with its tokens and its loss in nats a token.

        Raises:
            DivergedError: the loss is not finite.
        """
        require_finite({"forget_loss": forget_loss}, self.name)
        self.done, self.seen = self.done + 1, self.seen + size
        rate = self.seen / max(time.monotonic() - self.start, 1e-9)
        self.work.show_progress(self.before + self.done, self.steps, rate, forget_truth=forget_loss)

    def cost(self, stopped: str) -> Trained:
        return Trained(self.done, time.monotonic() - self.start, self.seen, stopped)


def do_rounds(
    work: LanguageWork, name: str, count: int, state: Mapping[str, Tensor], do: Callable[[int], Round]
) -> None:
    """`LanguageWork.rounds`."""
    folder = work.checkpoints / file_name(name)
    saved = load_latest(folder, count, notice=lambda text: work.log("notice", text=text)) if count else None
    done, seconds, seen, stopped = 0, 0.0, 0, ""
    if saved is not None:
        done, seconds, seen = saved.step, float(saved.state["seconds"]), int(saved.state["seen"])
        with torch.no_grad():
            for key, value in state.items():
                value.copy_(saved.tensors[key])
        work.log("phase_resumed", phase=name, step=done)
    start, written = time.monotonic() - seconds, time.monotonic()
    while done < count and not stopped:
        torch.manual_seed(random_seed(work.seed, name, done) % (1 << 31))
        made = do(done)
        done, seen, stopped = done + 1, seen + made.seen, made.stop
        require_finite(made.figures, f"{name}, round {done}")
        work.log("phase_step", phase=name, step=done, **made.figures)
        work.show_progress(done, count, seen / max(time.monotonic() - start, 1e-9), **made.figures)
        due = time.monotonic() - written > work.training.save_seconds
        if done < count and not stopped and agreed(due):
            if is_first():
                progress = {"seconds": time.monotonic() - start, "seen": seen}
                save_checkpoint(folder, done, state, progress)
            written = time.monotonic()
    work.trained.append(Trained(done, time.monotonic() - start, seen, stopped or "all rounds done"))


def require_finite(figures: Mapping[str, float], where: str) -> None:
    """Raise if a figure is not finite.

    Raises:
        DivergedError: a figure is not finite.
    """
    wrong = {name: value for name, value in figures.items() if not math.isfinite(value)}
    if wrong:
        raise DivergedError(
            f"stopped in {where}: a figure is not a number",
            seen=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in wrong.items()),
            next_step="lower the method's rates (expunge methods NAME lists its settings), or give --training.bf16 false",
        )
