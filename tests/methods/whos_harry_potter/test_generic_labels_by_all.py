"""Several processes train the reinforced model and make the generic labels that one makes, from start to report."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from expunge.core import storage
from expunge.kinds.language.token_dataset import TokenTable
from expunge.methods.whos_harry_potter.stages import GROUP_TOKENS
from expunge.runs.folder import RunFolder
from fork_server import Commands
from small import FORGET, SMALL, STREET, as_options, contents, leftovers, results, write_texts
from tiny_model import build_tiny_model

SPREAD = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
WAYS: dict[str, dict[str, str]] = {"copies": {}, "parts": SPREAD}
BATCHES = 2
"in an optimizer step, over all processes"
STEPS = 12
"of the reinforced model, with a checkpoint after ten"
OPTIONS: dict[str, Any] = SMALL | {
    "model": "tiny",
    "retain": "retain.txt",
    "data.block_size": 32,
    "data.retain_answers": 0,
    "evaluation.ordinary_text": "retain.txt",
    "evaluation.familiarity": "false",
    "evaluation.max_blocks": 2,
    "training.max_retain_increase": 100.0,
    "training.bf16": "false",
    "training.save_seconds": 1e-6,
    "training.max_steps": 3,
    "reinforcement.per_device_train_batch_size": 2,
    "reinforcement.max_steps": STEPS,
    "reinforcement.learning_rate": 1e-2,
    "method.top_k": 3,
}


def command(processes: int, out: str, **more: Any) -> list[str]:
    accumulate = dict.fromkeys(
        (f"{part}.gradient_accumulation_steps" for part in ("training", "reinforcement")), BATCHES // processes
    )
    return ["forget", "forget.txt", *as_options(OPTIONS | accumulate | more), "--out", out]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Path:
    """A folder with a run of one process, one of two that have the model each, and from there on one with parts of it."""
    folder = tmp_path_factory.mktemp("place")
    build_tiny_model(folder / "tiny", dtype="bfloat16")
    target, _ = write_texts(folder)
    target.write_text("\n\n".join([FORGET, *(f"On night {number} {STREET}" for number in range(12, 52))]))
    ended = commands.run(command(1, "one"), folder)
    assert ended.code == 3, ended.err  # the tiny model knows nothing that it could forget
    run_together(commands, folder, "copies", {})
    begin_again(folder, "parts")
    run_together(commands, folder, "parts", SPREAD)
    return folder


def begin_again(place: Path, out: str) -> None:
    """A copy of the run of two processes in which only the base was measured."""
    shutil.copytree(place / "copies", place / out)
    for begun in ("reinforced", "anchors", "labels", "reference", "unlearned", "measured-unlearned"):
        shutil.rmtree(stage(place / out, begun))
    shutil.rmtree(place / out / "model")
    (place / out / "events.jsonl").unlink()


def run_together(commands: Commands, place: Path, out: str, env: dict[str, str], **more: Any) -> None:
    first, other = commands.together(2, command(2, out, **more), place, env=env)
    assert (first.code, other.code) == (3, 0), first.err[-3000:] + other.err[-3000:]


def stage(out: Path, name: str) -> Path:
    (found,) = out.glob(f"stages/{name}-*")
    return found


def assert_close(one: Path, other: Path) -> None:
    """The reinforced weights, terms and labels of two runs, and the unlearned weights, are the same but for rounding."""
    reinforced, twin = (load_file(stage(out, "reinforced") / "reinforced.safetensors") for out in (one, other))
    assert sum(float(value.norm()) for value in reinforced.values()) > 0.1
    for name, value in reinforced.items():
        torch.testing.assert_close(twin[name], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))
    assert (other / "anchors.yaml").read_text() == (one / "anchors.yaml").read_text()
    labels, made = (TokenTable(stage(out, "labels")) for out in (one, other))
    assert (labels.labels >= 0).sum() > 2 * GROUP_TOKENS  # in three groups
    for name in ("ids", "labels", "soft_ids"):
        np.testing.assert_array_equal(getattr(made, name), getattr(labels, name))
    np.testing.assert_allclose(made.soft_weights, labels.soft_weights, rtol=1e-5, atol=1e-5)
    figures = [storage.read_json(stage(out, "labels") / "labels.json") for out in (one, other)]
    assert figures[0] == figures[1]
    weights, others = (load_file(out / "model/model.safetensors") for out in (one, other))
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_make_what_one_makes(way: str, place: Path) -> None:
    assert_close(place / "one", place / way)
    steps = [list(RunFolder(place / out).steps("reinforced_step")) for out in ("one", way)]
    assert [len(each) for each in steps] == [STEPS, STEPS]
    assert steps[1][-1]["loss"] == pytest.approx(steps[0][-1]["loss"], rel=1e-5)
    assert "</html>" in (place / way / "report.html").read_text()
    assert leftovers(place / way) == []


def test_killed_in_its_training_it_resumes_to_the_same_bits(place: Path, commands: Commands) -> None:
    whole, out = place / "copies", place / "killed"
    begin_again(place, "killed")
    kill = ("expunge.train.runtime:Runtime.seed", STEPS, signal.SIGKILL)
    for ended in commands.together(2, command(2, "killed"), place, on_call=kill):
        assert ended.code == -signal.SIGKILL, ended.err[-3000:]
    run_together(commands, place, "killed", {})
    assert [row["step"] for row in RunFolder(out).read_events("reinforced_resumed")] == [10]
    for name in ("reinforced", "labels"):
        same, other = (contents(stage(each, name)) for each in (whole, out))
        assert same | {"stage.json": ""} == other | {"stage.json": ""}  # that says how long it took
    assert results(out) == results(whole)


@pytest.mark.long
def test_a_reinforced_copy_in_parts_is_what_one_process_makes(place: Path, commands: Commands) -> None:
    full = {"reinforcement.adapter": "false", "reinforcement.learning_rate": 1e-3}
    ended = commands.run(command(1, "one-full", **full), place)
    assert ended.code == 3, ended.err
    run_together(commands, place, "parts-full", SPREAD, **full)
    assert_close(place / "one-full", place / "parts-full")


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_its_labels_it_resumes_to_the_same_bits(way: str, place: Path, commands: Commands) -> None:
    out = place / f"{way}-killed"
    kill = ("expunge.methods.whos_harry_potter.stages:generic_labels", 2, signal.SIGKILL)
    for ended in commands.together(2, command(2, out.name), place, on_call=kill, env=WAYS[way]):
        assert ended.code == -signal.SIGKILL, ended.err[-3000:]
    run_together(commands, place, out.name, WAYS[way])
    assert results(out) == results(place / way)
