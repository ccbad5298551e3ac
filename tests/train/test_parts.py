"""Processes that each hold a part of a model do with it what one does that holds the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import in_parts
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_processes import HERE, SPREAD
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from expunge.core import processes, storage
from expunge.models.language_kind import language_kind
from expunge.models.parts import PartFiles, part_files, shard_names
from expunge.models.source import ModelSource, find_model
from expunge.train.parts import own_rows
from fork_server import Commands
from tiny_model import build_tiny_model


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in bfloat16, with a head that is tied to its embeddings."""
    return build_tiny_model(tmp_path_factory.mktemp("stored") / "model", dtype="bfloat16")


@pytest.fixture(scope="module")
def large(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 57 million parameters, most of them in its layers."""
    folder = tmp_path_factory.mktemp("large") / "model"
    tokenizer = {file.name: file.read_bytes() for file in stored.glob("*token*")}
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=24,
        num_attention_heads=4,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        empty = LlamaForCausalLM(config)
    empty.to(torch.bfloat16).to_empty(device="cpu")
    for parameter in empty.parameters():
        nn.init.constant_(parameter, 0.01)
    empty.save_pretrained(folder)
    for name, content in tokenizer.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def one_and_two(
    stored: Path, large: Path, tmp_path_factory: pytest.TempPathFactory, commands: Commands
) -> tuple[Path, Path]:
    """What one process makes of the model, and what two make."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    in_parts.tables(one)
    in_parts.everything(str(stored), one, one)
    for done in commands.together(2, [stored, one, two, large], two, script=HERE / "in_parts.py", env=SPREAD):
        assert done.code == 0, done.err[-3000:]
    return one, two


def close(one: Any, other: Any) -> None:
    """The same but for rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = [*one.values()], [*other.values()]
    if isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            close(a, b)
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-5, abs=1e-7)
    else:
        assert one == other


def test_two_processes_measure_and_write_what_one_does(one_and_two: tuple[Path, Path]) -> None:
    one, two = one_and_two
    for name in ("before.json", "after.json"):
        close(storage.read_json(one / name), storage.read_json(two / name))


@pytest.mark.parametrize("name", in_parts.RUNS)
def test_two_processes_train_and_save_what_one_does(name: str, stored: Path, one_and_two: tuple[Path, Path]) -> None:
    one, two = one_and_two
    whole = load_file(one / name / "model.safetensors")
    index = storage.read_json(two / name / "model.safetensors.index.json")
    shards = {file: load_file(two / name / file) for file in index["weight_map"].values()}
    assert len(shards) > 2
    assert {key: shards[file][key].shape for key, file in index["weight_map"].items()} == {
        key: value.shape for key, value in whole.items()
    }
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in whole.values())
    base = load_file(stored / "model.safetensors")
    assert sum(float((whole[key] - base[key]).norm()) for key in whole) > 1
    for key, file in index["weight_map"].items():
        torch.testing.assert_close(shards[file][key], whole[key], rtol=1e-5, atol=1e-5 * float(whole[key].abs().max()))
    for file in ("config.json", "generation_config.json", "tokenizer.json"):
        assert (two / name / file).read_text() == (one / name / file).read_text()
    close(storage.read_json(one / f"{name}.json"), storage.read_json(two / f"{name}.json"))
    assert isinstance(AutoModelForCausalLM.from_pretrained(two / name), LlamaForCausalLM)


def test_no_process_holds_a_whole_copy(one_and_two: tuple[Path, Path]) -> None:
    for rank in (0, 1):
        figures = storage.read_json(one_and_two[1] / f"room-{rank}.json")
        assert figures["whole"] == 4 * 56_795_520
        assert figures["held"] == pytest.approx(figures["whole"] / 2, rel=0.02)
        # A part, a layer or two that are put together, what lies in the files, and what malloc did not give back.
        # Who reads the model whole has that beside its part: 1.5 of it.
        assert figures["took"] < 1.2 * figures["whole"]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_row_is_of_one_process(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "count", lambda: count)
    for rows in (1, 2, 5, 6, 7, 20):
        chunks = torch.arange(rows).chunk(count)  # as FSDP2 divides
        found = []
        for rank in range(count):
            monkeypatch.setattr(processes, "place", lambda rank=rank: rank)
            found.append(list(own_rows(rows)))
        assert [each for each in found if each] == [chunk.tolist() for chunk in chunks]


def test_rows_are_read_as_they_are_stored(tmp_path: Path) -> None:
    value = torch.arange(12, dtype=torch.float16).reshape(6, 2)
    save_file({"a": value, "b": value + 1}, tmp_path / "x.safetensors")
    files = PartFiles({name: tmp_path / "x.safetensors" for name in "ab"}, ())
    found = dict(files.read({"a": range(4, 6), "b": None}))
    assert torch.equal(found["a"], value[4:])
    assert torch.equal(found["b"], value + 1)
    assert found["a"].dtype == torch.float16
    assert dict(files.read({"a": range(6, 6)}))["a"].shape == (0, 2)


def test_weights_are_read_by_part_under_their_own_names_alone(stored: Path, tmp_path: Path) -> None:
    source = find_model(str(stored))
    kind = language_kind(stored, "tiny")
    found = part_files(source, kind)
    assert found is not None
    assert found.unread == ()
    assert "lm_head.weight" not in found.files
    assert "model.layers.1.mlp.up_proj.weight" in found.files
    assert part_files(ModelSource("x", stored, {}, adapter=tmp_path), kind) is None
    for file in stored.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(stored / "model.safetensors")
    weights["model.layers.0.mlp.gate_up"] = weights.pop("model.layers.0.mlp.up_proj.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert part_files(ModelSource("x", tmp_path, {}), kind) is None


def test_files_of_weights_hold_so_many_bytes_at_most() -> None:
    assert shard_names({"a": 3, "b": 3, "c": 9, "d": 1, "e": 4}, 6) == [["a", "b"], ["c"], ["d", "e"]]
