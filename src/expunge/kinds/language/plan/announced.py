"""Estimate the work of a run in a fraction of a second, to be announced at its head."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from expunge.data.text.notes import Notes
from expunge.data.text.readers import read_several
from expunge.kinds.language.plan.devices import DEVICES, Device
from expunge.kinds.language.plan.disk import disk
from expunge.kinds.language.plan.model import CHARACTERS, Amount, PlannedModel, forget_amount, retain_amount
from expunge.kinds.language.plan.stages import Stage
from expunge.kinds.language.plan.tried import Tried
from expunge.kinds.language.plan.words import duration, gib, scientific
from expunge.kinds.language.recipe import Recipe

READ = 1 << 20
"bytes of files up to which their text is read; longer ones are estimated by their size"
SAMPLE = 20_000
"characters that are tokenized, to learn how many make a token"
ROWS, WIDTH, REPEATS = 256, 1024, 3
"a product of matrices to measure speed by, of about 0.5 GFLOP, and how often it is made"


@dataclass(frozen=True, slots=True)
class Announced:
    """The work of a run: stage by stage, and bytes on disk by purpose."""

    device: Device
    stages: list[Stage]
    disk: dict[str, int]

    @property
    def seconds(self) -> float | None:
        """Of all stages; None if the device's speed is unknown."""
        each = [stage.seconds(self.device) for stage in self.stages]
        return None if None in each else sum(value for value in each if value is not None)

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "run_seconds": None if self.seconds is None else round(self.seconds, 1),
            "tokens": sum(stage.tokens for stage in self.stages),
            "flops": sum(stage.flops for stage in self.stages),
            "disk_bytes": sum(self.disk.values()),
            "speed": self.device.source or None,
            "stages": [stage.row(self.device) for stage in self.stages],
        }

    def words(self) -> str:
        """One line."""
        row = self.row()
        time = "time not known" if self.seconds is None else f"about {duration(self.seconds)}"
        return (
            f"work: {row['tokens']:,} tokens, {scientific(row['flops'])} FLOPs, {time}; disk: {gib(row['disk_bytes'])} "
            "at most"
        )


def announced(device: Device, tried: Tried, model: PlannedModel) -> Announced:
    """The work of a planned run."""
    return Announced(with_quick_speed(device, tried.work.setting.bf16), tried.stages, disk(tried.work, model))


def amounts_by_size(
    recipe: Recipe, model: PlannedModel, tokenizer: Callable[[], Any] | None = None
) -> tuple[Amount, Amount]:
    """(forget set, retain set): short files are read, long ones estimated by their size."""

    def counted(name: str, targets: tuple[str, ...]) -> Amount:
        return _by_size(name, targets, recipe, tokenizer)

    return forget_amount(recipe, model, counted), retain_amount(recipe, model, counted)


def _by_size(name: str, targets: tuple[str, ...], recipe: Recipe, tokenizer: Callable[[], Any] | None) -> Amount:
    size, total = recipe.data.block_size, sum(_bytes(Path(each)) for each in targets)
    if total > READ:
        tokens = max(1, total // CHARACTERS)
        return Amount(math.ceil(tokens / size), tokens, f"{total:,} bytes of files, {CHARACTERS} a token")
    passages: list[int] = []
    sample = ""
    for document in read_several(targets, Notes(recipe.data.read_by(name))):
        text = f"{document.prompt or ''} {document.text}" if document.prompt else document.text
        sample += text[: SAMPLE - len(sample)] if len(sample) < SAMPLE else ""
        if document.continues and passages:
            passages[-1] += len(text)
        else:
            passages.append(len(text))
    each = CHARACTERS if tokenizer is None or not sample else len(sample) / max(1, len(_ids(tokenizer, sample)))
    tokens = round(sum(passages) / each)
    return Amount(sum(math.ceil(length / each / size) for length in passages), max(1, tokens), "estimated")


def _ids(tokenizer: Callable[[], Any], text: str) -> list[int]:
    found: list[int] = tokenizer()(text, add_special_tokens=False)["input_ids"]
    return found


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    found = 0
    for parent, _, names in os.walk(path):
        found += sum(Path(parent, name).stat().st_size for name in names if not Path(parent, name).is_symlink())
    return found


def with_quick_speed(device: Device, bf16: bool) -> Device:
    """A device with its speed: a GPU's as published, a processor's by products of matrices, in a tenth of a second.

    Unchanged if it is another device.
    """
    if device.rate is not None:
        return device
    if device.main_memory and device.name.endswith("(cpu)"):
        rate = _products(torch.bfloat16 if bf16 else torch.float32)
        return replace(device, rate=rate, source="measured: products of matrices")
    known = published(device.name)
    if known is None:
        return device
    return replace(device, rate=known.rate, bandwidth=known.bandwidth, reached=known.reached, source=known.source)


def published(name: str) -> Device | None:
    """The device in the table that a driver calls by this name; None if there is none."""
    said = set(re.split(r"[^a-z0-9]+", name.lower()))
    return next((device for key, device in DEVICES.items() if set(key.split("-")) <= said), None)


def _products(dtype: torch.dtype) -> float:
    """Operations a second of products of matrices on the processor."""
    one, other = torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        one @ other
        seconds.append(time.perf_counter() - start)
    return 2 * ROWS * WIDTH * WIDTH / min(seconds)
