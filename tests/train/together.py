"""What processes that a launcher started train together; run by test_processes.py."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from expunge.core import storage
from expunge.core.processes import first_alone, helped, is_first, rank, spread, world
from expunge.errors import FollowedError
from expunge.kinds.language import helping
from expunge.kinds.language.choosing import Choice
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.sampling import continue_prompts
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.signals.signal import lookup
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.texts import Sampling
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.trained_sets import TrainedSets
from expunge.models.source import find_model
from expunge.ops.narrow import hold_narrow
from expunge.runs.registry import make_method
from expunge.train.precision import Precision, found_device
from known_sets import known_sets
from tiny import ignore_log, load_task, random_blocks, write_table

BATCHES = 4
"in an optimizer step, over all processes"
METHODS: dict[str, dict[str, Any]] = {
    "gradient_difference": {},
    "npo": {},
    "npo_sam": {"rho": 0.1},
    "rmu": {"layer": 2, "trained_layers": 1},
    "targeted_npo": {},
}

ADAPTER: dict[str, Any] = {"adapter_rank": 4, "narrow": True, "gradient_checkpointing": True}
CHOOSES: dict[str, Any] = {"chooses": True, "max_steps": 12, "learning_rate": 3e-3}
HALF: dict[str, Any] = {"num_train_epochs": 4, "max_steps": None}


def parts(task: CausalLM, step: int) -> None:
    """Raise unless this process holds its part of the layers' weights, where they are spread; others are gathered here."""
    if spread():
        weights = list(task.layers.parameters())
        assert all(isinstance(p, DTensor) for p in weights)
        held = sum(p.to_local().numel() for p in weights if isinstance(p, DTensor))
        assert held <= 1.1 * sum(p.numel() for p in weights) / world()


def tables(folder: Path) -> tuple[TokenTable, TokenTable]:
    """A forget and a retain set of blocks of many lengths."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(8, 40, (60,), generator=generator).tolist()
    blocks = random_blocks(lengths)
    return write_table(folder / "forget", blocks[:30], 3), write_table(folder / "retain", blocks[30:], 1)


def train(name: str, model: Path, folder: Path, out: Path, stop_step: int | None = None, **training: Any) -> None:
    """Train with a method on the sets in `folder`; weights go to `out`, checkpoints beside it."""
    task = load_task(model)
    if training.get("weight_dtype"):
        ids = torch.tensor([[1, 5, 2, 7]])
        hold_narrow(task.model, lambda: task.model(input_ids=ids, use_cache=False), trained=torch.bfloat16)
    if training.pop("narrow", False):
        task.model.bfloat16()
        hold_narrow(task.model, lambda: task.model(input_ids=torch.tensor([[1, 5, 2, 7]]), use_cache=False))
    method = make_method({"name": name, **METHODS.get(name, {})})
    plain = TokenTable(folder / "forget"), TokenTable(folder / "retain")
    choice = None
    if training.pop("chooses", False):
        tables = {"forget": plain[0], "retain": plain[1]}
        limits = {"retain": 1.02}  # some of the steps keep it
        choice = Choice(tables=tables, every=2, stop_at=None, asked=True, keeps_best=True, limits=limits)

    def sets() -> TrainedSets:
        return known_sets(method, task, *plain, out.parent / f"{out.stem}-run")

    known = first_alone(sets, sets)
    assert known is not None
    forget = known.forget
    if "unwanted_words" in method.signal_names:  # random blocks have no words
        forget = forget.with_signal("unwanted_words", lookup(np.linspace(0, 3, len(forget.ids)), "row", forget))
    work = LanguageWork(
        task=task,
        forget=forget,
        retain=known.retain,
        training=Training(
            **{
                "max_steps": 20,
                "stop_step": stop_step,
                "num_train_epochs": 40,
                "learning_rate": 1e-3,
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": BATCHES // world(),
                "save_seconds": 1e-6,
                "max_retain_increase": 100.0,
                "bf16": False,
            }
            | training
        ),
        seed=0,
        checkpoints=out.parent / f"{out.stem}-checkpoints",
        log=ignore_log,
        probe=parts,
        choice=choice,
    )
    work.carry_out(method)
    if training.get("weight_dtype"):
        named = {name: p.detach() for name, p in task.model.named_parameters()}
        save_file(named, out.with_name(f"{out.stem}-of-{rank()}.safetensors"))
    if is_first():
        save_file({name: p.detach() for name, p in task.model.named_parameters()}, out)
        storage.write_text(out.with_suffix(".txt"), work.trained[-1].stopped)


def texts(model: Path, out: Path) -> None:
    """Write texts, greedy and sampled, and count those that other processes wrote."""
    lazy = LazyModel(find_model(str(model)), Precision(False))
    prompts = [[11 + number, *range(20, 20 + number % 7)] for number in range(11)]
    sampling = Sampling(samples=2, seed=3, top_p=0.9)
    task, before = lazy(), helping.JOBS.copy()
    own = 0

    def counted(batches: Any, *rest: Any) -> Any:
        nonlocal own
        own += len(batches)
        return write(batches, *rest)

    write, task.write = task.write, counted  # type: ignore[method-assign]
    found: dict[str, Any] = {
        "greedy": list(task.generate(prompts, 6, batch_size=2)),
        "sampled": list(task.generate(prompts, 6, sampling, batch_size=2)),
        "continued": [[each.text for each in row] for row in continue_prompts(task, prompts, 6, sampling, rows=4)],
    }
    found["own"], task.write = own, write  # type: ignore[method-assign]
    lazy.to_train()  # may be changed from now on
    found["alone"] = list(task.generate(prompts, 6, batch_size=2))
    assert before == helping.JOBS
    storage.write_json(out / "texts.json", found)


def no_help(about: Any, own: Sequence[int]) -> list[Any]:
    raise ValueError(f"no {about}")


def asked_in_vain() -> str:
    """What the first process says where another one fails."""
    try:
        helped("nothing", "help", 3, list)
    except FollowedError as error:
        return str(error)
    return ""


def main(what: str, data: Path, model: Path, out: Path) -> None:
    if what == "texts":
        first_alone(lambda: texts(model, out))
        helping.JOBS["nothing"] = no_help
        first_alone(lambda: storage.write_text(out / "failed.txt", asked_in_vain()))
    if what == "spread":
        train("gradient_difference", model, data, out / "gradient_difference.safetensors")
        train("gradient_difference", model, data, out / "adapter.safetensors", **ADAPTER)
        train("npo_sam", model, data, out / "npo_sam.safetensors")
    if what == "methods":
        for name in METHODS:
            train(name, model, data, out / f"{name}.safetensors")
        train("npo", model, data, out / "interrupted.safetensors", stop_step=5)
        train("npo", model, data, out / "interrupted.safetensors")
        # From the middle of what one process trained; with its recipe each process draws as many batches as that one.
        train("npo", model, data, out / "half.safetensors", **HALF, gradient_accumulation_steps=1)
        if not spread():
            train("gradient_difference", model, data, out / "rounded.safetensors", weight_dtype="bfloat16", max_steps=3)
    if what == "chooses":
        train("gradient_ascent", model, data, out / "chosen.safetensors", **CHOOSES, stop_step=9)
        train("gradient_ascent", model, data, out / "chosen.safetensors", **CHOOSES)
    if what == "dies":
        if not is_first():
            threading.Timer(12, os._exit, (9,)).start()
        train("npo", model, data, out / "npo.safetensors", max_steps=10_000, num_train_epochs=10_000)


if __name__ == "__main__":
    found_device()
    for each in sys.argv[1].split("+"):
        main(each, *map(Path, sys.argv[2:5]))
