"""Several processes train what one trains that accumulates as many times the batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import together

HERE = Path(__file__).parent


def launch(processes: int, *words: str | Path, script: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script, or expunge itself, in several processes on this machine."""
    what = ["-m", "expunge"] if script is None else [str(HERE / script)]
    paths = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"]
        + [*what, *map(str, words)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def alone(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sets, and what one process trains on them."""
    folder = tmp_path_factory.mktemp("alone")
    together.tables(folder)
    for name in together.METHODS:
        together.train(name, tiny_model_folder, folder, folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_train_what_one_trains(
    processes: int, alone: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    done = launch(processes, alone, tiny_model_folder, tmp_path, script="together.py")
    assert done.returncode == 0, done.stderr[-3000:]
    base = load_file(tiny_model_folder / "model.safetensors")
    for name in together.METHODS:
        one, several = (load_file(folder / f"{name}.safetensors") for folder in (alone, tmp_path))
        moved = sum(float((one[key] - base[key]).norm()) for key in one)
        assert moved > 0.1, name
        for key, value in one.items():
            torch.testing.assert_close(several[key], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()), msg=name)
