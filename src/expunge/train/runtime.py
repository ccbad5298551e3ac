"""Run a step of the loop on its processes.

Everything that depends on the number of processes or on wrapping is here: which batches belong to which process,
calling the model, gradients, figures, seeds, and saving. N processes do the same as one that accumulates N times the
batches.
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
"(the loss, or its terms, figures to log) of one batch of each stream; all are scalars on the device"


class Runtime:
    """The processes that train one model.

    Attributes:
        rank, world: this process's number, and the number of processes.
        spreads: whether the model's weights are sharded over them (FSDP2); else each has all of them.
    """

    def __init__(self) -> None:
        self.rank, self.world = processes.rank(), processes.world()
        self.spreads = processes.spread()
        self._root: nn.Module | None = None
        self._running: Running | None = None
        self._seed, self._passes = (0, "", 0), 0

    def agreed(self, decision: bool) -> bool:
        """The first process's decision: clocks differ, and all have to save together."""
        return processes.agreed(decision) if self.world > 1 else decision

    def batches(self, step: int, accumulate: int) -> tuple[range, range]:
        """(numbers of all batches of a step, those of this process)."""
        size = accumulate * self.world
        return range(step * size, (step + 1) * size), range(self.rank, size, self.world)

    @contextmanager
    def spread(self, model: nn.Module, layers: Callable[[], str]) -> Iterator[nn.Module]:
        """Context with the model to train: a copy sharded over the processes, if they shard it.

        At the end its weights are copied into the model.

        Args:
            layers: returns the name of the list of its layers.
        """
        if not self.spreads:
            yield model
            return
        name = layers()  # called before: finding them takes a pass
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
        """The optimizer of a phase. A model is wrapped first if needed, as optimizers hold parameters.

        Args:
            seed: seed of the rounding of bfloat16 weights, the same on all processes.
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
        """Seed the draws of a step on the device, such as dropout: those of its first batch, the same on all
        processes."""
        self._seed, self._passes = (seed, stream, step), 0
        torch.manual_seed(random_seed(seed, stream, step) % (1 << 31))

    def begin_pass(self) -> None:
        """Called before a pass over a step's batches; most methods have one."""
        self._passes += 1

    def micro_step(self, place: int, last: bool) -> AbstractContextManager[object]:
        """Around a batch's passes, with draws by its place in the step, so the same on any number of processes;
        gradients are summed over the processes in the last one of a step.

        If weights are sharded this is done after each batch, as no process has memory for all gradients.
        """
        if place or self._passes > 1:
            seed, stream, step = self._seed
            names = (stream, f"pass {self._passes}", f"batch {place}", step)
            torch.manual_seed(random_seed(seed, *names) % (1 << 31))
        nothing = self._root is None or last or self.spreads
        return nullcontext() if nothing else self._root.no_sync()  # type: ignore[operator, union-attr]

    def inside(self, work: Callable[..., T], *given: Any) -> T:
        """Run something with the model on all processes: its weights are gathered for it if they are sharded.

        A wrapper that shards a model acts around the call of its root, and only there; however often and
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
        """Run something with the model without training: on all processes if weights are sharded, else on any."""
        return self.inside(work, *given) if self.spreads else work(*given)

    def let_go(self) -> None:
        """Release gathered weights, before they are written to: a pass without gradients keeps them,
        and would be read instead."""
        for module in () if self._root is None or not self.spreads else self._root.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def backward(self, terms: Tensor | Sequence[Tensor]) -> Tensor:
        """Add the gradients of a batch's loss to those of the step; return its value.

        Args:
            terms: the loss, or its terms: then each term's gradients are scattered before the next are computed.
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
        """`backward` for a term before the next is computed; None if a whole step belongs in one call of the root."""
        return self.backward if self._root is None else None

    def clip(self, parameters: Iterable[nn.Parameter], most: float) -> Tensor:
        """Clip the gradients to a norm, over all parameters together; return their norm before, as a scalar."""
        norm = shards.whole(nn.utils.clip_grad_norm_(parameters, most))
        return norm.to(found_device()) if self.spreads else norm  # gradients may be in main memory

    def reduce(
        self, parts: Sequence[Mapping[str, Tensor]], whole: Mapping[str, Tensor], sizes: Sequence[int]
    ) -> tuple[dict[str, float], tuple[int, ...]]:
        """(figures of a step, amounts that all processes saw of each stream).

        `parts` are per batch and are summed, `whole` are per step. One transfer from the device in all.
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
        """Raise on every process if the loss or its gradient is not finite on one.

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
