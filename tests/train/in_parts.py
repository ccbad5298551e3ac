"""What processes that each hold a part of a model measure, write, train and save; run by test_parts.py."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from expunge.core import processes, storage
from expunge.core.processes import first_alone, is_first, world
from expunge.kinds.language import (
    helping,  # noqa: F401 - what other processes can do
    saving_parts,
)
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.familiarity import Prompt, TargetTerms, familiarity_by_probability
from expunge.kinds.language.measures.general_knowledge import general_knowledge
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.measures.recall import verbatim_recall
from expunge.kinds.language.part_models import held_bytes
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.sampling import continue_prompts
from expunge.kinds.language.saving import choose_dtype, lost_beside_base, save_model
from expunge.kinds.language.saving_parts import lost_of_parts, save_parts
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.texts import Sampling
from expunge.kinds.language.token_dataset import TokenTable
from expunge.models.source import find_model
from expunge.runs.registry import make_method
from expunge.train.parts import parts_of
from expunge.train.precision import Precision
from expunge.train.unchanged import must_change
from known_sets import known_sets
from tiny import ignore_log, random_blocks, write_table

TERMS = TargetTerms(unique=("Sherlock Holmes", "Watson", "Hogwarts"))
PROMPTS = [Prompt(ids=(5, 6, *range(7, 8 + n % 4)), text="", context="") for n in range(9)]
RUNS: dict[str, dict[str, Any]] = {"full": {}, "adapter": {"adapter_rank": 4}}


def tables(folder: Path) -> None:
    """A forget set with passages to recite, and a retain set."""
    write_table(folder / "forget", random_blocks([12 + n % 9 for n in range(16)] + [100] * 3), 1)
    write_table(folder / "retain", random_blocks([10 + n % 11 for n in range(17)], seed=1), 1)


def look(model: str, data: Path) -> dict[str, Any]:
    """What is measured of a model and written by it, while another one is looked at in between."""
    lazy = LazyModel(find_model(model), Precision(False), as_stored=True)
    other = LazyModel(find_model(model), Precision(False))
    task, forget = lazy(), TokenTable(data / "forget")
    if processes.count() > 1:
        in_parts(task)
    ids = [prompt.ids for prompt in PROMPTS]
    scores = [
        perplexity(task, forget, "forget", "base", 19),
        *verbatim_recall(task, forget, "forget", "base", 3)[0],
        familiarity_by_probability(task, PROMPTS, TERMS, "base"),
        general_knowledge(task, "base")[0],
    ]
    found = {
        "scores": [[each.measure, each.value, list(each.examples)] for each in scores],
        "greedy": list(task.generate(ids, 5, batch_size=4)),
        "sampled": [[each.text for each in row] for row in continue_prompts(task, ids, 5, Sampling(samples=2), rows=6)],
        # Nobody else runs these: a pass that ends early, and two models in turns.
        "states": [float(each().hidden(forget.batch([1]), 1).norm()) for each in (lazy, other, lazy)],
    }
    lazy.release()
    other.release()
    return found


def in_parts(task: Any) -> None:
    """Raise unless the layers' weights lie in parts, about a half of each here."""
    weights = list(task.layers.parameters())
    assert all(isinstance(weight, DTensor) for weight in weights)
    own = sum(weight.to_local().numel() for weight in weights)
    assert own <= 1.1 * sum(weight.numel() for weight in weights) / processes.count()


def train(name: str, model: str, data: Path, out: Path, **training: Any) -> None:
    """Train and save a model."""
    lazy = LazyModel(find_model(model), Precision(False))
    task = lazy.under_adapter() if "adapter_rank" in training else lazy.to_train()
    method = make_method({"name": "gradient_difference"})
    forget, retain = (TokenTable(data / name) for name in ("forget", "retain"))
    prepare: Callable[[], Any] = lambda: known_sets(method, task, forget, retain, out / f"{name}-run")  # noqa: E731
    known = first_alone(prepare, prepare)
    work = LanguageWork(
        task=task,
        forget=known.forget,
        retain=known.retain,
        training=Training(
            max_steps=4,
            num_train_epochs=40,
            learning_rate=1e-2,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2 // world(),
            max_retain_increase=100.0,
            bf16=False,
            **training,
        ),
        seed=0,
        checkpoints=out / f"{name}-checkpoints",
        log=ignore_log,
    )
    with must_change(task.model, name):
        work.carry_out(method)
    assert lazy.loaded is not None
    divided = parts_of(task.model) is not None
    assert divided == (world() > 1)
    lost = (lost_of_parts if divided else lost_beside_base)(lazy.loaded, torch.bfloat16)
    dtype, _ = choose_dtype(lazy.loaded, "float32")
    (save_parts if divided else save_model)(lazy.loaded, out / name, dtype)
    if is_first():
        storage.write_json(out / f"{name}.json", {"lost": lost})
    lazy.release()


def memory() -> tuple[int, int]:
    """(bytes now, the most since this was asked last) of this process's own memory."""
    text = Path("/proc/self/status").read_text()
    now, most = (int(re.findall(rf"{name}:\s+(\d+)", text)[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return now, most


def room(large: str, out: Path) -> None:
    """Note what a process takes to load its part of a large model and to run it."""
    memory()
    before, _ = memory()
    lazy = LazyModel(find_model(large), Precision(False))
    task = lazy.to_train()
    task.model.requires_grad_(False)
    task.run_on_few_tokens()
    _, most = memory()
    whole = sum(weight.numel() * weight.element_size() for weight in task.model.parameters())
    figures = {"took": most - before, "held": held_bytes(task.model), "whole": whole}
    storage.write_json(out / f"room-{processes.place()}.json", figures)
    lazy.release()


def everything(model: str, data: Path, out: Path, large: str | None = None) -> None:
    """All of it. Saved weights are in files of so few bytes that there are several."""
    saving_parts.FILE_BYTES = 40_000
    first_alone(lambda: storage.write_json(out / "before.json", look(model, data)))
    for name, training in RUNS.items():
        train(name, model, data, out, **training)
    first_alone(lambda: storage.write_json(out / "after.json", look(str(out / "adapter"), data)))
    if large is not None:
        room(large, out)


if __name__ == "__main__":
    Precision(False)  # joins the other processes
    everything(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
