"""How a step of the loop runs on its processes.

Whatever depends on how many processes there are, or how a model is wrapped, is here: which batches are whose, the way into
the model, gradients, figures, seeds, and when all save. N processes do what one does that accumulates N times the batches.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from expunge.core import processes
from expunge.core.order import random_seed
from expunge.errors import DivergedError
from expunge.train import shards
from expunge.train.parts import parts_of
from expunge.train.phase import Phase
from expunge.train.precision import found_device
from expunge.train.rounded import RoundedAdamW, adamw_in_8_bits
from expunge.train.running import Running

T = TypeVar("T")
Loss = Callable[..., tuple[Tensor | Sequence[Tensor], dict[str, Tensor]]]
"(what is minimised, or the terms of it, figures to log) of one batch of each stream; all are scalars on the device"


class Runtime:
    """The processes that train one model.

    Attributes:
        rank, world: which process this is, and how many there are.
        spreads: whether the model's weights are spread over them (FSDP2); else each has all of them.
    """

    def __init__(self) -> None:
        self.rank, self.world = processes.rank(), processes.world()
        self.spreads = processes.spread()
        self._root: nn.Module | None = None
        self._running: Running | None = None
        self._seed, self._passes = (0, "", 0), 0

    def agreed(self, decision: bool) -> bool:
        """What the first process decides: clocks differ, and all have to save together."""
        return processes.agreed(decision) if self.world > 1 else decision

    def batches(self, step: int, accumulate: int) -> tuple[range, range]:
        """(numbers of all batches of a step, those of this process)."""
        size = accumulate * self.world
        return range(step * size, (step + 1) * size), range(self.rank, size, self.world)

    @contextmanager
    def spread(self, model: nn.Module, layers: Callable[[], str]) -> Iterator[nn.Module]:
        """The model to train inside: a copy that is spread over the processes, where they spread it.

        On the way out its weights are put into the model.

        Args:
            layers: gives the name of the list of its layers.
        """
        if not self.spreads:
            yield model
            return
        name = layers()  # asked before: finding them takes a pass
        parts = parts_of(model)
        with nullcontext() if parts is None else parts.lent():
            copied, self._root = shards.spread(model, name, found_device())
            yield copied
            shards.gather(copied, model)
            self._root = None
        del copied
        gc.collect()  # what FSDP keeps of modules refers to them

    def prepare(
        self, model: nn.Module, named: Mapping[str, nn.Parameter], phase: Phase, seed: int = 0
    ) -> torch.optim.Optimizer:
        """The optimizer of a phase. A model that has to be wrapped is wrapped first, as optimizers hold parameters.

        Args:
            seed: of how updates of weights in bfloat16 are rounded, which is the same on all processes.
        """
        if self.world > 1 and not self.spreads:
            # Which weights a batch reaches depends on the method and on the router of experts.
            how = DistributedDataParallelKwargs(find_unused_parameters=True)
            # A script's own Accelerator may have set autocast for all: here it is the task's.
            accelerator = Accelerator(mixed_precision=None, kwargs_handlers=[how])
            accelerator.native_amp = False
            self._root = accelerator.prepare_model(shards.Root(model))
            self._running = Running(model)
        rate, decay, parameters = phase.learning_rate, phase.weight_decay, list(named.items())
        if phase.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=phase.momentum, weight_decay=decay, fused=True)
        if phase.optimizer == "adamw_8bit":
            return adamw_in_8_bits(parameters, seed, lr=rate, betas=phase.betas, weight_decay=decay)
        if phase.optimizer == "adamw" and any(each.dtype == torch.bfloat16 for each in named.values()):
            return RoundedAdamW(parameters, rate, phase.betas, decay, seed)
        kind = torch.optim.Adam if phase.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, lr=rate, betas=phase.betas, weight_decay=decay, fused=True)

    def seed(self, seed: int, stream: str, step: int) -> None:
        """Seed what a step draws on the device, dropout for one: of its first batch, and on all processes alike."""
        self._seed, self._passes = (seed, stream, step), 0
        torch.manual_seed(random_seed(seed, stream, step) % (1 << 31))

    def begin_pass(self) -> None:
        """Before a pass over a step's batches; of most methods there is one."""
        self._passes += 1

    def micro_step(self, place: int, last: bool) -> AbstractContextManager[object]:
        """Around a batch's passes, which draw by its place in the step and so alike on however many processes; gradients are
        added up over the processes in the last of a step.

        Where weights are spread it is done after each batch, as no process has room for all gradients.
        """
        if place or self._passes > 1:
            seed, stream, step = self._seed
            names = (stream, f"pass {self._passes}", f"batch {place}", step)
            torch.manual_seed(random_seed(seed, *names) % (1 << 31))
        nothing = self._root is None or last or self.spreads
        return nullcontext() if nothing else self._root.no_sync()  # type: ignore[operator, union-attr]

    def inside(self, work: Callable[..., T], *given: Any) -> T:
        """Do something with the model on all processes: its weights are gathered for it where they are spread.

        A wrapper that spreads a model over processes acts around the call of its root, and only there; however often and
        through whichever part the model itself is called.
        """
        if self._root is None:
            return work(*given)
        if self._running is not None:
            self._running.begin()
        with processes.followed():
            found: T = self._root(work, *given)
        return found

    def look(self, work: Callable[..., T], *given: Any) -> T:
        """Do something with the model without training it: on all processes where weights are spread, else on any."""
        return self.inside(work, *given) if self.spreads else work(*given)

    def let_go(self) -> None:
        """Give up what was gathered of spread weights, before they are written to: a pass without gradients holds on to it,
        and would be read in their place."""
        for module in () if self._root is None or not self.spreads else self._root.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def backward(self, terms: Tensor | Sequence[Tensor]) -> Tensor:
        """Add the gradients of a batch's loss to those of the step; its value.

        Args:
            terms: it, or what it is the sum of: then each term's gradients are handed out before those of the next are made.
        """
        terms = [terms] if isinstance(terms, Tensor) else terms
        if self._root is None:
            for term in terms:
                term.backward()
        else:
            # Sums are divided by the totals of all processes already, and DDP takes the mean.
            with processes.followed():
                for term in terms:
                    (term if self.spreads else term * self.world).backward()
                if self._running is not None:
                    self._running.end()
        return sum((term.detach() for term in terms[1:]), start=terms[0].detach())

    @property
    def adding(self) -> Callable[[Tensor], Any] | None:
        """`backward` for a term while the next is not made yet; None if all of a step belongs in one call of the root."""
        return self.backward if self._root is None else None

    def clip(self, parameters: Iterable[nn.Parameter], most: float) -> Tensor:
        """Clip the gradients to a norm, over all parameters together; the norm that they had, as a scalar."""
        norm = shards.whole(nn.utils.clip_grad_norm_(parameters, most))
        return norm.to(found_device()) if self.spreads else norm  # gradients may wait in main memory

    def reduce(
        self, parts: Sequence[Mapping[str, Tensor]], whole: Mapping[str, Tensor], sizes: Sequence[int]
    ) -> tuple[dict[str, float], tuple[int, ...]]:
        """(figures of a step, what all processes saw of each stream).

        `parts` are of a batch each and are added, `whole` are of the step. One transfer from the device in all.
        """
        named = [(name, value) for part in parts for name, value in part.items()] + list(whole.items())
        found: dict[str, float] = {}
        for (name, _), value in zip(named, torch.stack([v.detach() for _, v in named]).tolist(), strict=True):
            found[name] = found[name] + value if name in found else value
        if self.world > 1:
            names = [name for name in found if name not in whole]
            values = processes.summed([*(found[name] for name in names), *sizes])
            found |= dict(zip(names, values, strict=False))
            sizes = [round(size) for size in values[len(names) :]]
        return found, tuple(sizes)

    def require_finite(self, figures: Mapping[str, float], where: str) -> None:
        """Raise on every process where the loss or its gradient is not a number on one.

        Raises:
            DivergedError: it is not.
        """
        watched = {name: figures[name] for name in ("loss", "grad_norm") if name in figures}
        if not all(math.isfinite(value) for value in watched.values()):
            raise DivergedError(
                f"stopped in {where}: the loss is not a number",
                seen=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in watched.items()),
                next_step="lower the method's learning rate (expunge methods NAME lists its settings)",
            )
