"""The guard: stops a run whose loss is not finite, whose retain loss runs away, or that has forgotten enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from expunge.core.order import random_seed
from expunge.core.processes import agreed
from expunge.errors import DivergedError
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.train.callback import Callback, Report
from expunge.train.runtime import Runtime

BLOCKS, TOKENS = 2, 256
"retain blocks watched, always the same ones; more if they are short, until they have this many tokens"
SMOOTHING = 0.6
"weight of the past in the running mean of the forget loss"


def watched_rows(lengths: np.ndarray, seed: int) -> list[int]:
    """Row numbers of the retain blocks to watch, ascending."""
    generator = np.random.default_rng(random_seed(seed, "guard"))
    rows: list[int] = generator.choice(len(lengths), min(BLOCKS, len(lengths)), replace=False).tolist()
    while len(rows) < len(lengths) and int(lengths[rows].sum()) < TOKENS:
        row = int(generator.integers(len(lengths)))
        if row not in rows:
            rows.append(row)
    return sorted(rows)


class Guard(Callback):
    """Watches one fixed retain batch every `probe_steps`, whether or not the method trains on the retain set.

    Args:
        ends: whether the user may end the training at an earlier step (`training.stop_step`).
        runtime: the processes that train.
        probe: called at each check with the task and the step, the model in evaluation
            mode.
        spared: called if the retain loss ran away: whether good weights were kept, so that training may just end.
    """

    name = "guard"
    rate_field = "training.learning_rate"
    "the recipe's field of the learning rate"

    def __init__(
        self,
        task: CausalLM,
        retain: TokenTable | None,
        training: Training,
        seed: int,
        runtime: Runtime,
        ends: bool = False,
        probe: Callable[[CausalLM, int], None] | None = None,
        spared: Callable[[], bool] = lambda: False,
    ) -> None:
        self.task, self.training, self.runtime, self.ends, self.probe = task, training, runtime, ends, probe
        self.spared = spared
        self.batch = None
        self.start: float | None = None
        self.forget_loss: float | None = None
        self.good = 0
        self.saved: int | None = None
        if retain is not None:
            self.batch = retain.batch(watched_rows(retain.lengths, seed))

    def state(self) -> dict[str, Any]:
        """State for a checkpoint. It is called when one is written, so the guard also learns here which one exists."""
        self.saved = self.good
        return {"start": self.start, "forget_loss": self.forget_loss, "step": self.saved}

    def load_state(self, state: dict[str, Any]) -> None:
        self.start, self.forget_loss, self.saved = state["start"], state["forget_loss"], state["step"]
        self.good = state["step"]

    def begin(self, step: int) -> None:
        if step == 0:
            self.look(0)

    def before_update(self, report: Report) -> None:
        """Raise before an update that would write NaN into the weights."""
        loss, grad_norm = report.figures["loss"], report.figures["grad_norm"]
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise DivergedError(
                f"stopped at step {report.step}: the loss or its gradient is not a number",
                seen=f"loss {loss}, gradient norm {grad_norm}",
                next_step=self._next_step(" or --training.bf16 false"),
            )
        truth = report.figures.get("forget_truth")
        if self.training.stop_forget_loss is not None and truth is not None:
            report.stop = self.forgotten(truth)  # so that others know in `after_step` that it is the last

    def after_step(self, report: Report) -> None:
        if report.step % self.training.probe_steps == 0 or report.ends:
            self.task.model.eval()
            try:
                self.look(report.step)
            except DivergedError as error:
                if not self.spared():
                    raise
                report.stop = f"{error.what}: {error.seen}"
            self.task.model.train()

    def look(self, step: int) -> None:
        """Check the retain loss, and probe."""
        self.check(step)
        if self.probe is not None:
            self.runtime.look(self.probe, self.task, step)

    def check(self, step: int) -> None:
        """Raise if the retain loss has run away from its start."""
        if self.batch is None:
            self.good = step
            return
        with torch.no_grad():
            loss = agreed(float(self.runtime.look(self.task.nll, self.batch)))
        if self.start is None:
            self.start = loss
        if not math.isfinite(loss) or loss > self.start + self.training.max_retain_increase:
            raise DivergedError(
                f"stopped at step {step}: the retain loss ran away",
                seen=f"{loss:.3f} nats a token, {self.start:.3f} at the start",
                allowed=f"a rise of at most {self.training.max_retain_increase} (training.max_retain_increase)",
                next_step=self._next_step(),
            )
        self.good = step

    def _next_step(self, other: str = "") -> str:
        """The next step: end where all was well, or start another run. The unchanged command would stop here again."""
        rate = self.training.learning_rate
        lower = f"give a lower --{self.rate_field} than {rate:g}{other}"
        another = f"{lower} and another --out, since this folder keeps its recipe"
        if not self.ends or not self.good:
            return another
        begins = "the start, as no checkpoint was written yet" if self.saved is None else f"its checkpoint {self.saved}"
        return (
            f"give the same command with --training.stop_step {self.good}: it resumes from {begins}, and ends where "
            f"the retain loss was still good; or {another}"
        )

    def forgotten(self, forget_loss: float) -> str:
        """Why to stop, once the running mean of the forget set's true loss has reached the wanted value; else ''."""
        past = self.forget_loss
        self.forget_loss = forget_loss if past is None else SMOOTHING * past + (1 - SMOOTHING) * forget_loss
        wanted = self.training.stop_forget_loss
        if wanted is not None and self.forget_loss >= wanted:
            return f"the forget set's loss reached {self.forget_loss:.2f} (training.stop_forget_loss {wanted})"
        return ""
