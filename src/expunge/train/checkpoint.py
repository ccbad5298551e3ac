"""Checkpoints of the loop: weights and optimizer state by parameter name, and callbacks' state.

Tensors are safetensors, the rest is JSON; a folder is written under a temporary name and renamed, with the digest of
each file. Optimizer state is collected by hand: torch's `get_optimizer_state_dict` refuses to load parameters that have
had no gradient yet, and makes a step of its own to prepare an optimizer.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from expunge.core import storage
from expunge.core.processes import is_first, world
from expunge.train.callback import Callback
from expunge.train.phase import Phase
from expunge.train.shards import part_of, put, whole

FORMAT = 2
SHARD_BYTES = 128 << 20
"tensors are written in files of about this size: signals are handled between two files"


class Tensors(Mapping[str, Tensor]):
    """Tensors in files, by key; each is read on demand, so that they are never all in memory."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = files

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Tensors:
        """All tensors of some files."""
        found: dict[str, Path] = {}
        for path in paths:
            with safe_open(path, framework="pt") as opened:
                found |= dict.fromkeys(opened.keys(), path)
        return cls(found)

    def __getitem__(self, key: str) -> Tensor:
        with safe_open(self.files[key], framework="pt") as opened:
            found: Tensor = opened.get_tensor(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint as read: (optimizer steps done, tensors by key, JSON state)."""

    step: int
    tensors: Mapping[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], keep: Collection[int] = ()
) -> None:
    """Write `folder/step-N`, then delete others except those of the steps in `keep`. `state` must be JSON."""
    path = _place(folder, step)
    with storage.folder_aside(path) as aside:
        files: dict[str, str] = {}
        shard: dict[str, Tensor] = {}
        for number, (name, tensor) in enumerate(tensors.items(), 1):
            shard[name] = whole(tensor.detach()).cpu().contiguous()
            size = sum(each.numel() * each.element_size() for each in shard.values())
            if size >= SHARD_BYTES or number == len(tensors):
                file = f"state-{len(files):04d}.safetensors"
                save_file(shard, aside / file)
                files[file] = storage.digest_file(aside / file)
                shard = {}
        storage.write_json(aside / "checkpoint.json", {"format": FORMAT, "step": step, "state": state, "files": files})
    kept = {path, *(_place(folder, each) for each in keep)}
    for other in checkpoints(folder):
        if other not in kept:
            shutil.rmtree(other, ignore_errors=True)


def _place(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first. A folder without its list of digests is not a checkpoint."""
    return sorted(path for path in folder.glob("step-*") if (path / "checkpoint.json").is_file())


def _log(text: str) -> None:
    logging.getLogger(__name__).warning(text)


def load_latest(folder: Path, at_most: int | None = None, notice: Callable[[str], None] = _log) -> Saved | None:
    """The newest checkpoint whose files match its list; None if there is none.

    Args:
        at_most: the latest allowed step.
        notice: called with a note on a checkpoint of another format, which is skipped.
    """
    for path in reversed(checkpoints(folder)):
        try:
            listed = storage.read_json(path / "checkpoint.json")
            if listed.get("format") != FORMAT:
                notice(f"{path} was written by another version and is ignored: training begins again")
                continue
            behind = steps_behind(int(listed["step"]), int(listed["state"].get("world", 1)), world())
            if at_most is not None and behind > at_most:
                continue
            if (saved := _read(path, listed)) is not None:
                return saved
        except (OSError, KeyError, AttributeError, storage.StorageError):
            continue
    return None


def load_step(folder: Path, step: int) -> Saved | None:
    """The checkpoint of one step; None if it is missing, or its files do not match its list."""
    try:
        return _read(_place(folder, step), storage.read_json(_place(folder, step) / "checkpoint.json"))
    except (OSError, KeyError, AttributeError, storage.StorageError):
        return None


def _read(path: Path, listed: Mapping[str, Any]) -> Saved | None:
    """The checkpoint with this list of files; None if they differ."""
    if any(storage.digest_file(path / name) != digest for name, digest in listed["files"].items()):
        return None
    return Saved(int(listed["step"]), Tensors.of(path / name for name in listed["files"]), listed["state"])


def steps_behind(steps: int, of: int, now: int) -> int:
    """The steps of `now` processes that draw the same as `steps` of `of` processes."""
    return steps * of // now


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer state of named parameters, by `KEY/NAME`; steps are tensors of one number."""
    return {
        f"{key}/{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in _named(optimizer)
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor | int)
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    """Load an optimizer's state from `optimizer_state`; missing parameters stay without state.

    Args:
        prefix: of the keys that count.
    """
    parameters = dict(_named(optimizer))
    for place in [place for place in tensors if place.startswith(prefix)]:
        value = tensors[place]
        key, _, name = place.removeprefix(prefix).partition("/")
        state = optimizer.state.setdefault(parameters[name], {})
        whole_number = value.dim() == 0 and value.dtype == torch.int64  # bitsandbytes' count of steps
        state[key] = int(value) if whole_number else part_of(value, parameters[name])


def _named(optimizer: torch.optim.Optimizer) -> list[tuple[str, nn.Parameter]]:
    return [
        pair for group in optimizer.param_groups for pair in zip(group["param_names"], group["params"], strict=True)
    ]


class Checkpoints:
    """Where the phases of a training are saved, and where they resume.

    Args:
        folder: None saves nothing.
        seconds: a checkpoint is written at most this often.
        whole: save the whole model, also at the end of a phase, since code between phases may change any weight.
            Otherwise only a phase's trained weights are saved, inside of it.
        at_most: a step beyond which no checkpoint is resumed from.
    """

    def __init__(
        self,
        folder: Path | None,
        seconds: float = 60.0,
        *,
        whole: bool = False,
        at_most: int | None = None,
        notice: Callable[[str], None] = _log,
    ) -> None:
        self.folder, self.seconds, self.whole = folder, seconds, whole
        self.finished: list[str] = []
        "finished phases"
        self.optimizers: dict[str, dict[str, Tensor]] = {}
        "the optimizer state passed between phases with the same `continues`"
        self._saved_at = time.monotonic()
        self._resumed = None if folder is None else load_latest(folder, at_most, notice)
        self._before = 0  # steps of finished phases
        if self._resumed is not None:
            self.finished, self._before = list(self._resumed.state["finished"]), self._resumed.state["before"]
            for key in [key for key in self._resumed.tensors if key.startswith("handed_on/")]:
                word, _, place = key.removeprefix("handed_on/").partition("/")
                self.optimizers.setdefault(word, {})[place] = self._resumed.tensors[key]

    def skips(self, phase: str, model: nn.Module, callbacks: Sequence[Callback]) -> bool:
        """Whether a phase was finished before; the model of the last finished one is restored here."""
        if phase not in self.finished:
            return False
        if self._resumed is not None and self._resumed.state["phase"] is None and phase == self.finished[-1]:
            self._restore(self._resumed, model, callbacks)  # now: the method continues with these weights
        return True

    def restore(
        self, phase: str, model: nn.Module, optimizer: torch.optim.Optimizer, callbacks: Sequence[Callback]
    ) -> dict[str, Any] | None:
        """Resume in the middle of a phase: the JSON state of its checkpoint, if any."""
        saved = self._resumed
        if saved is None or saved.state["phase"] != phase:
            return None
        self._restore(saved, model, callbacks)
        load_optimizer_state(optimizer, saved.tensors, "optimizer/")
        return saved.state

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another one."""
        return self.folder is not None and time.monotonic() - self._saved_at > self.seconds

    def save(
        self,
        phase: str | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        callbacks: Sequence[Callback],
        progress: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint inside of a phase, or between two if `phase` is None.

        Args:
            progress: JSON that `restore` returns, for a phase; its `step` counts in the phase.
        """
        assert self.folder is not None
        progress = progress or {"step": 0}
        weights = model.state_dict() if self.whole else dict(_named(optimizer))
        tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in weights.items()}
        if phase is not None:
            tensors |= {f"optimizer/{place}": value for place, value in optimizer_state(optimizer).items()}
        for word, held in self.optimizers.items():
            tensors |= {f"handed_on/{word}/{place}": value for place, value in held.items()}
        content = {
            "phase": phase,
            "finished": self.finished,
            "before": self._before,
            "callbacks": {callback.name: callback.state() for callback in callbacks if callback.name},
            **progress,
        }
        if is_first():  # weights and moments are the same on all processes, or parts of the same
            save_checkpoint(self.folder, self._before + progress["step"], tensors, content)
        else:
            for value in tensors.values():
                whole(value.detach())
        self._saved_at = time.monotonic()

    def finish(self, phase: Phase, steps: int, optimizer: torch.optim.Optimizer) -> None:
        """Note that a phase is finished, after this many steps."""
        self.finished.append(phase.name)
        self._before += steps
        if phase.continues:
            self.optimizers[phase.continues] = optimizer_state(optimizer)

    def _restore(self, saved: Saved, model: nn.Module, callbacks: Sequence[Callback]) -> None:
        self._resumed = None
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if f"model/{name}" in saved.tensors:
                    put(value, saved.tensors[f"model/{name}"])
        for callback in callbacks:
            if callback.name in saved.state["callbacks"]:
                callback.load_state(saved.state["callbacks"][callback.name])
