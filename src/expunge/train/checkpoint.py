"""Checkpoints of the loop: weights and optimizer state by parameter name, and what callbacks keep.

Tensors are safetensors, the rest is JSON; a folder is written aside and renamed, with the digest of each file. Optimizer
state is collected by hand: torch's `get_optimizer_state_dict` refuses to load parameters that have had no gradient yet, and
makes a step of its own to prepare an optimizer.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from expunge.core import storage
from expunge.train.callback import Callback
from expunge.train.phase import Phase

FORMAT = 2
SHARD_BYTES = 128 << 20
"tensors are written in files of about this size: between two files a signal is heard"


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint as it was read: (optimizer steps behind it, tensors by key, JSON state)."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write `folder/step-N`, then delete older ones. `state` must be JSON."""
    path = folder / f"step-{step:08d}"
    with storage.folder_aside(path) as aside:
        files = write_tensors(aside, tensors)
        storage.write_json(aside / "checkpoint.json", {"format": FORMAT, "step": step, "state": state, "files": files})
    for other in checkpoints(folder):
        if other != path:
            shutil.rmtree(other, ignore_errors=True)


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Write tensors in files of about `SHARD_BYTES`; file name -> digest."""
    files: dict[str, str] = {}
    shard: dict[str, Tensor] = {}

    def flush() -> None:
        if shard:
            name = f"state-{len(files):04d}.safetensors"
            save_file(shard, folder / name)
            files[name] = storage.digest_file(folder / name)
        shard.clear()

    for name, tensor in tensors.items():
        shard[name] = tensor.detach().cpu().contiguous()
        if sum(each.numel() * each.element_size() for each in shard.values()) >= SHARD_BYTES:
            flush()
    flush()
    return files


def read_tensors(folder: Path, files: Mapping[str, str]) -> dict[str, Tensor] | None:
    """What `write_tensors` wrote; None where a file is not what its digest says."""
    if any(storage.digest_file(folder / name) != digest for name, digest in files.items()):
        return None
    tensors: dict[str, Tensor] = {}
    for name in files:
        tensors |= load_file(folder / name)
    return tensors


def checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first. A folder without its list of digests is no checkpoint."""
    return sorted(path for path in folder.glob("step-*") if (path / "checkpoint.json").is_file())


def _log(text: str) -> None:
    logging.getLogger(__name__).warning(text)


def load_latest(folder: Path, at_most: int | None = None, notice: Callable[[str], None] = _log) -> Saved | None:
    """The newest checkpoint whose files are what its list says; None where there is none.

    Args:
        at_most: a step that it may not lie beyond.
        notice: called with what to say of a checkpoint of another format, which is passed over.
    """
    for path in reversed(checkpoints(folder)):
        try:
            listed = storage.read_json(path / "checkpoint.json")
            if listed.get("format") != FORMAT:
                notice(f"{path} was written by another version and is ignored: training begins again")
                continue
            if at_most is not None and int(listed["step"]) > at_most:
                continue
            tensors = read_tensors(path, listed["files"])
            if tensors is not None:
                return Saved(int(listed["step"]), tensors, listed["state"])
        except (OSError, KeyError, AttributeError, storage.StorageError):
            continue
    return None


def optimizer_state(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """What an optimizer keeps of each parameter, by `KEY/NAME`; steps are tensors of one number."""
    return {
        f"{key}/{name}": value
        for name, parameter in zip(names, _parameters(optimizer), strict=True)
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, names: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer copies of what `optimizer_state` collected; parameters that are not there keep what they have."""
    found: dict[str, dict[str, Tensor]] = {}
    for place, value in tensors.items():
        key, _, name = place.partition("/")
        found.setdefault(name, {})[key] = value
    for name, parameter in zip(names, _parameters(optimizer), strict=True):
        if name in found:
            optimizer.state[parameter] = {key: v.to(parameter.device, copy=True) for key, v in found[name].items()}


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose keys begin with `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


class Checkpoints:
    """Where the phases of a training are saved, and where they go on.

    Args:
        folder: where; None saves nothing.
        seconds: a checkpoint is written at most this often.
        whole: save the whole model, and at the end of a phase too, since what comes between phases may change any weight.
            Otherwise what a phase trains is saved inside of it.
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
        "phases that are over"
        self.optimizers: dict[str, dict[str, Tensor]] = {}
        "the optimizer state that phases with a word in `continues` hand on"
        self._saved_at = time.monotonic()
        self._resumed = None if folder is None else load_latest(folder, at_most, notice)
        self._before = 0  # steps of finished phases
        if self._resumed is not None:
            self.finished, self._before = list(self._resumed.state["finished"]), self._resumed.state["before"]
            for key, value in below(self._resumed.tensors, "handed_on/").items():
                word, _, place = key.partition("/")
                self.optimizers.setdefault(word, {})[place] = value

    def skips(self, phase: str, model: nn.Module, callbacks: Sequence[Callback]) -> bool:
        """Whether a phase was finished before; the model of the last finished one is restored here."""
        if phase not in self.finished:
            return False
        if self._resumed is not None and self._resumed.state["phase"] is None and phase == self.finished[-1]:
            self._restore(self._resumed, model, callbacks)  # now: what the method does next is done to these weights
        return True

    def restore(
        self, phase: str, model: nn.Module, optimizer: torch.optim.Optimizer, callbacks: Sequence[Callback]
    ) -> dict[str, Any] | None:
        """Go on in the middle of a phase: the JSON state of its checkpoint, where there is one."""
        saved = self._resumed
        if saved is None or saved.state["phase"] != phase:
            return None
        self._restore(saved, model, callbacks)
        load_optimizer_state(optimizer, names_of(model, optimizer), below(saved.tensors, "optimizer/"))
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
        """Write a checkpoint inside of a phase, or between two where `phase` is None.

        Args:
            progress: JSON that `restore` gives back, of a phase; its `step` counts in the phase.
        """
        assert self.folder is not None
        progress = progress or {"step": 0}
        names = names_of(model, optimizer)
        state = model.state_dict()
        weights = state if self.whole else {name: state[name] for name in names if name in state}
        tensors = {f"model/{name}": value for name, value in weights.items()}
        if phase is not None:
            tensors |= {f"optimizer/{place}": value for place, value in optimizer_state(optimizer, names).items()}
        for word, held in self.optimizers.items():
            tensors |= {f"handed_on/{word}/{place}": value for place, value in held.items()}
        content = {
            "phase": phase,
            "finished": self.finished,
            "before": self._before,
            "callbacks": {callback.name: callback.state() for callback in callbacks if callback.name},
            **progress,
        }
        save_checkpoint(self.folder, self._before + progress["step"], tensors, content)
        self._saved_at = time.monotonic()

    def hand_on(self, word: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Give an optimizer what the last phase with this word in `continues` ended with."""
        load_optimizer_state(optimizer, names_of(model, optimizer), self.optimizers[word])

    def finish(self, phase: Phase, steps: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Note that a phase is over, after so many steps."""
        self.finished.append(phase.name)
        self._before += steps
        if phase.continues:
            self.optimizers[phase.continues] = optimizer_state(optimizer, names_of(model, optimizer))

    def _restore(self, saved: Saved, model: nn.Module, callbacks: Sequence[Callback]) -> None:
        self._resumed = None
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if f"model/{name}" in saved.tensors:
                    value.copy_(saved.tensors[f"model/{name}"])
        for callback in callbacks:
            if callback.name in saved.state["callbacks"]:
                callback.load_state(saved.state["callbacks"][callback.name])


def names_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The names in the model of what an optimizer trains, in its order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names.get(id(parameter), f"extra {at}") for at, parameter in enumerate(_parameters(optimizer))]
