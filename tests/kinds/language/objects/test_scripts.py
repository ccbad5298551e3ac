"""Scripts of a user's own: killed and run again, and in several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import script
import torch
from safetensors.torch import load_file

import expunge
from expunge.errors import RunError
from fork_server import Commands

HERE = Path(__file__).parent


def run(*words: str | Path, processes: int = 1) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"] if processes > 1 else []
    return subprocess.run(
        [sys.executable, *launcher, HERE / "script.py", *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_a_script_that_was_killed_resumes_to_the_same_bits(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], commands: Commands
) -> None:
    """The process that is killed is one of its own; the others need none."""
    script.main(str(tiny_model_folder), str(tmp_path / "whole.safetensors"))
    assert capsys.readouterr().out.split()[-3:] == ["whole", "32", "32"]
    out = tmp_path / "out"
    words = [tiny_model_folder, tmp_path / "resumed.safetensors", out, "19"]
    killed = commands.run(words, tmp_path, script=HERE / "script.py")
    assert killed.code == 9, killed.err[-2000:]
    assert not (tmp_path / "resumed.safetensors").exists()
    script.main(str(tiny_model_folder), str(tmp_path / "resumed.safetensors"), str(out))
    assert capsys.readouterr().out.split()[-2:] == ["32", "32"]
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "resumed"] == [18]
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_another_unlearning_in_the_same_folder_is_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    texts = ["Sherlock Holmes of Baker Street went by, on a night of the fog."]

    def unlearn(forget: list[str]) -> None:
        model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
        training = expunge.Training(max_steps=1, learning_rate=1e-3)
        expunge.unlearn(
            model, tokenizer, forget=forget, method="gradient_ascent", training=training, out=tmp_path / "out"
        )

    unlearn(texts)
    unlearn(texts)
    with pytest.raises(RunError, match="holds another run: its recipe differs in forget"):
        unlearn([*texts, "Doctor Watson said nothing of it."])


@pytest.mark.long
def test_two_processes_of_a_script_with_its_own_accelerator(tiny_model_folder: Path, tmp_path: Path) -> None:
    one = run(tiny_model_folder, tmp_path / "one.safetensors", "", "0", "2")
    assert one.stdout.split()[-2:] == ["16", "16"], one.stderr[-2000:]
    two = run(tiny_model_folder, tmp_path / "two.safetensors", "", "0", "1", "bf16", processes=2)
    assert two.returncode == 0, two.stderr[-3000:]
    assert two.stdout.split().count("16") == 4, two.stdout
    weights, others = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))
