"""Several processes train what one trains that accumulates as many times the batches."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import together
import torch
from safetensors.torch import load_file

from expunge.core import storage
from expunge.errors import RunError
from expunge.train import shards
from expunge.train.checkpoint import checkpoints
from fork_server import Commands

HERE = Path(__file__).parent


SPREAD = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
"what `accelerate launch --use_fsdp --fsdp_version 2` sets"


def launch(
    processes: int, *words: str | Path, program: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in several processes of this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"]
    return subprocess.run(
        [*launcher, *program.split(), *map(str, words)],
        env=os.environ
        | (env or {})
        | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )


def assert_same(one: Path, several: Path, base: Path) -> None:
    """The weights of two files are the same but for rounding, and not those of the base."""
    weights, others, before = load_file(one), load_file(several), load_file(base / "model.safetensors")
    assert sum(float((weights[key] - before[key]).norm()) for key in weights) > 0.1
    for key, value in weights.items():
        torch.testing.assert_close(others[key], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))


@pytest.fixture(scope="module")
def alone(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sets, and what one process trains on them."""
    folder = tmp_path_factory.mktemp("alone")
    together.tables(folder)
    for name in together.METHODS:
        together.train(name, tiny_model_folder, folder, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def both(alone: Path, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Path:
    """What two processes train, and the texts that they write."""
    base, half, folder = tiny_model_folder, together.HALF, tmp_path_factory.mktemp("both")
    # What one process begins and two go on with; and the same checkpoint as one goes on with that accumulates.
    begun = {**half, "gradient_accumulation_steps": 1, "stop_step": 30}
    together.train("npo", base, alone, folder / "half.safetensors", **begun)
    (left,) = checkpoints(folder / "half-checkpoints/unlearning")
    assert storage.read_json(left / "checkpoint.json")["step"] == 28
    shutil.copytree(folder / "half-checkpoints", alone / "half-checkpoints")
    (left,) = checkpoints(alone / "half-checkpoints/unlearning")
    content = storage.read_json(left / "checkpoint.json")
    storage.write_json(left / "checkpoint.json", content | {"step": 14, "state": content["state"] | {"step": 14}})
    together.train("npo", base, alone, alone / "half.safetensors", **half, gradient_accumulation_steps=2)

    for done in commands.together(2, ["methods+texts", alone, base, folder], folder, script=HERE / "together.py"):
        assert done.code == 0, done.err[-3000:]
    return folder


def test_two_processes_train_what_one_trains(alone: Path, both: Path, tiny_model_folder: Path) -> None:
    for name in (*together.METHODS, "half"):
        assert_same(alone / f"{name}.safetensors", both / f"{name}.safetensors", tiny_model_folder)
    whole, resumed = (load_file(both / f"{name}.safetensors") for name in ("npo", "interrupted"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_two_processes_round_alike(both: Path, tiny_model_folder: Path) -> None:
    one, other = (load_file(both / f"rounded-of-{rank}.safetensors") for rank in (0, 1))
    before = load_file(tiny_model_folder / "model.safetensors")
    assert sum(weight.dtype == torch.bfloat16 for weight in one.values()) > 10
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
    assert any(not torch.equal(weight, before[name].to(weight.dtype)) for name, weight in one.items())


def test_two_processes_write_the_texts_that_one_writes(both: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    together.texts(tiny_model_folder, tmp_path)
    whole, shared = (storage.read_json(folder / "texts.json") for folder in (tmp_path, both))
    assert (whole.pop("own"), shared.pop("own")) == (12, 6)
    assert shared == whole
    assert shared["alone"] == shared["greedy"]
    failed = (both / "failed.txt").read_text()
    assert "another process could not do its part" in failed
    assert "process 1: ValueError: no help" in failed


@pytest.mark.long
def test_weights_spread_over_two_processes_train_what_one_trains(
    alone: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    base = tiny_model_folder
    together.train("gradient_difference", base, alone, alone / "adapter.safetensors", **together.ADAPTER)
    done = launch(2, "spread", alone, base, tmp_path, program=str(HERE / "together.py"), env=SPREAD)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("gradient_difference", "adapter", "npo_sam"):
        assert_same(alone / f"{name}.safetensors", tmp_path / f"{name}.safetensors", base)


@pytest.mark.long
@pytest.mark.parametrize("env", [{}, SPREAD], ids=["copies", "spread"])
def test_two_processes_choose_what_one_chooses(
    alone: Path, tiny_model_folder: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    """The second of two trainings resumes the first, which ended early."""
    together.train("gradient_ascent", tiny_model_folder, alone, tmp_path / "one.safetensors", **together.CHOOSES)
    done = launch(2, "chooses", alone, tiny_model_folder, tmp_path, program=str(HERE / "together.py"), env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    kept = (tmp_path / "one.txt").read_text()
    assert 0 < int(kept.split("the weights of step ")[1].split()[0]) < 12
    assert (tmp_path / "chosen.txt").read_text() == kept
    assert_same(tmp_path / "one.safetensors", tmp_path / "chosen.safetensors", tiny_model_folder)


def test_weights_are_spread_by_the_second_version_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(RunError, match="weights are sharded by FSDP2") as refused:
        shards.check_spread()
    assert "--fsdp_version 2" in str(refused.value)


@pytest.mark.long
def test_weights_spread_over_four_processes_train_what_one_trains(
    alone: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    done = launch(4, "methods", alone, tiny_model_folder, tmp_path, program=str(HERE / "together.py"), env=SPREAD)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in together.METHODS:
        assert_same(alone / f"{name}.safetensors", tmp_path / f"{name}.safetensors", tiny_model_folder)
    whole, resumed = (load_file(tmp_path / f"{name}.safetensors") for name in ("npo", "interrupted"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.long
def test_four_processes_train_what_one_trains(alone: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    done = launch(4, "methods", alone, tiny_model_folder, tmp_path, program=str(HERE / "together.py"))
    assert done.returncode == 0, done.stderr[-3000:]
    for name in together.METHODS:
        assert_same(alone / f"{name}.safetensors", tmp_path / f"{name}.safetensors", tiny_model_folder)


@pytest.mark.long
def test_when_one_process_dies_the_others_end_and_say_so(alone: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    done = launch(2, "dies", alone, tiny_model_folder, tmp_path, program=str(HERE / "together.py"))
    assert done.returncode != 0
    assert time.monotonic() - begun < 60
    assert "process 0 stopped, since another one ended" in done.stderr or "exitcode  : 9" in done.stderr
