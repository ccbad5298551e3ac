"""Training that leaves the safe region, through the whole of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expunge.train.checkpoint import checkpoints, load_latest
from fork_server import Commands
from small import SMALL, as_options, contents, leftovers

UNSAFE: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "not-a-number",
        {"training.learning_rate": 1e30, "training.probe_steps": 100, "training.max_retain_increase": 1e30},
        "stopped at step 2: the loss or its gradient is not a number",
        "another --out, since this folder keeps its recipe",
    ),
    (
        "runaway",
        {"training.learning_rate": 3e-3, "training.probe_steps": 1, "training.max_retain_increase": 0.3},
        "the retain loss ran away",
        "give the same command with --training.stop_step ",
    ),
]


@pytest.mark.parametrize(("name", "settings", "what", "step"), UNSAFE, ids=[unsafe[0] for unsafe in UNSAFE])
def test_it_stops_and_what_was_good_is_kept(
    name: str, settings: dict[str, Any], what: str, step: str, commands: Commands, place: Path
) -> None:
    out = place / name
    words = ["forget", "forget.txt", "--retain", "retain.txt", "--model", "tiny", "--method", "gradient_ascent"]
    more = {"training.max_steps": 60, "training.num_train_epochs": 60, "training.save_seconds": 1e-6} | settings
    words += as_options(SMALL | more)
    ended = commands.run([*words, "--out", name], place)
    assert ended.code == 1, ended
    assert "Traceback" not in ended.err
    said = ended.err[ended.err.index("expunge: ") :]
    assert what in said
    assert "  seen:    " in said
    assert step in said
    assert not (out / "model").exists()
    assert not (out / "scores.json").exists()
    assert leftovers(out) == []
    assert [path.name for path in out.glob("stages/measured-base-*/measured.json")] == ["measured.json"]
    (training,) = (
        (out / "checkpoints").glob("unlearned-*/unlearning") if name == "runaway" else [out / "checkpoints" / "none"]
    )
    if name == "not-a-number":
        assert contents(out / "checkpoints") == {}
        return
    stopped = int(said.split("stopped at step ")[1].split(":")[0])
    assert 1 < stopped < 60
    saved = load_latest(training)
    assert saved is not None
    assert saved.step == stopped - 1
    assert f"--training.stop_step {stopped - 1}: it resumes from its checkpoint {stopped - 1}" in said
    assert [path.name for path in checkpoints(training)] == [f"step-{stopped - 1:08d}"]
    assert all(tensor.isfinite().all() for tensor in saved.tensors.values())
    again = commands.run([*words, "--out", name], place)
    assert again.code == 1
    assert said in again.err
