"""Checkpoints: whole, digested, free of pickle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from expunge.train import checkpoint
from expunge.train.checkpoint import checkpoints, load_latest, load_optimizer_state, optimizer_state, save_checkpoint

TENSORS = {f"parameter/{i}": torch.full((10, 10), float(i)) for i in range(5)}


def two_checkpoints(folder: Path) -> list[Path]:
    """Steps 4 and 6 side by side, as a crash before the old one's deletion would leave them."""
    save_checkpoint(folder, 6, {name: tensor + 6 for name, tensor in TENSORS.items()}, {"tokens": 6})
    (folder / "step-00000006").rename(folder / "kept")
    save_checkpoint(folder, 4, TENSORS, {"tokens": 4})
    (folder / "kept").rename(folder / "step-00000006")
    assert [path.name for path in checkpoints(folder)] == ["step-00000004", "step-00000006"]
    return checkpoints(folder)


def test_what_was_saved_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SHARD_BYTES", 700)  # 400 bytes a tensor: two in a file
    save_checkpoint(tmp_path, 3, TENSORS, {"tokens": 17, "guard": {"start": 1.5}})
    loaded = load_latest(tmp_path)
    assert loaded is not None
    step, tensors, state = loaded.step, loaded.tensors, loaded.state
    assert (step, state) == (3, {"tokens": 17, "guard": {"start": 1.5}})
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    files = sorted(path.name for path in (tmp_path / "step-00000003").iterdir())
    assert files == ["checkpoint.json", *(f"state-000{i}.safetensors" for i in range(3))]


def test_nothing_is_written_that_could_run_code(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, TENSORS, {})
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".json", ".safetensors"}
    assert not any(path.read_bytes()[:2] in (b"PK", b"\x80\x04", b"\x80\x02") for path in written)


def test_the_older_one_goes_when_the_newer_is_whole(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        save_checkpoint(tmp_path, step, TENSORS, {})
        assert [path.name for path in tmp_path.iterdir()] == [f"step-{step:08d}"]


def test_a_write_that_fails_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, 2, TENSORS, {})

    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 4, TENSORS, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


@pytest.mark.parametrize("damage", ["a byte", "cut short", "gone", "list cut short", "list without its files"])
def test_a_damaged_newest_is_passed_over_for_an_older_one(damage: str, tmp_path: Path) -> None:
    older, newest = two_checkpoints(tmp_path)
    file, listed = newest / "state-0000.safetensors", newest / "checkpoint.json"
    if damage == "a byte":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    elif damage == "cut short":
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "gone":
        file.unlink()
    elif damage == "list cut short":
        listed.write_text(listed.read_text()[:20])
    else:
        listed.write_text(json.dumps({"format": checkpoint.FORMAT, "step": 6}))
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded.step == 4
    (older / "state-0000.safetensors").unlink()
    assert load_latest(tmp_path) is None


def test_a_folder_without_its_list_is_no_checkpoint(tmp_path: Path) -> None:
    _, newest = two_checkpoints(tmp_path)
    (newest / "checkpoint.json").unlink()
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded.step == 4
    assert load_latest(tmp_path / "not there") is None


def test_the_optimizers_state_comes_back_by_name() -> None:
    parameters = [
        torch.nn.Parameter(torch.ones(3)),
        torch.nn.Parameter(torch.ones(2)),
        torch.nn.Parameter(torch.ones(1)),
    ]
    optimizer = torch.optim.AdamW(list(zip("abc", parameters, strict=True)), fused=True)
    (parameters[0].sum() + (parameters[1] ** 2).sum()).backward()  # the third has no gradient and so no state
    optimizer.step()
    tensors = optimizer_state(optimizer)
    assert sorted(tensors) == sorted(f"{key}/{n}" for key in ("step", "exp_avg", "exp_avg_sq") for n in "ab")
    other = torch.optim.AdamW(
        [(name, torch.nn.Parameter(p.detach().clone())) for name, p in zip("abc", parameters, strict=True)], fused=True
    )
    load_optimizer_state(other, tensors)
    states = [other.state.get(p, {}) for p in other.param_groups[0]["params"]]
    for state, parameter in zip(states[:2], parameters, strict=False):
        assert all(torch.equal(state[key], value) for key, value in optimizer.state[parameter].items())
    assert states[2] == {}


def test_the_state_of_sgd_comes_back_by_name_too() -> None:
    parameters = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))]
    named = list(zip(("first", "layers.0.second"), parameters, strict=True))
    optimizer = torch.optim.SGD(named, lr=0.1, momentum=0.9, fused=True)
    parameters[1].sum().backward()
    optimizer.step()
    tensors = optimizer_state(optimizer)
    assert list(tensors) == ["momentum_buffer/layers.0.second"]
    other = torch.optim.SGD(named[::-1], lr=0.1, momentum=0.9, fused=True)  # another order, the same names
    load_optimizer_state(other, tensors)
    loaded = other.state[parameters[1]]["momentum_buffer"]
    assert torch.equal(loaded, optimizer.state[parameters[1]]["momentum_buffer"])
    assert loaded is not optimizer.state[parameters[1]]["momentum_buffer"]
    assert parameters[0] not in other.state


def test_a_checkpoint_of_an_older_format_is_ignored_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, newest = two_checkpoints(tmp_path)
    listed = newest / "checkpoint.json"
    content = json.loads(listed.read_text())
    del content["format"]  # as versions before wrote it
    listed.write_text(json.dumps(content))
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert loaded.step == 4
    assert "step-00000006 was written by another version and is ignored" in caplog.text
    noticed: list[str] = []
    load_latest(tmp_path, notice=noticed.append)
    assert len(noticed) == 1
