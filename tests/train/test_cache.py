"""Values that are computed once: read again as they were, and never computed again from another model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from expunge.errors import StorageError
from expunge.train.cache import cached_there, read_cached, write_cached


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert not cached_there(tmp_path, "part a/b")
    write_cached(tmp_path, "part a/b", {"x": torch.arange(3), "y": torch.ones(2, 2)}, [{"steps": 3}])
    assert cached_there(tmp_path, "part a/b")
    values, cost = read_cached(tmp_path, "part a/b")
    assert torch.equal(values["x"], torch.arange(3))
    assert torch.equal(values["y"], torch.ones(2, 2))
    assert cost == [{"steps": 3}]
    assert not cached_there(tmp_path, "part a")
    assert [path.name for path in tmp_path.iterdir()] == ["cached-part-a-b"]


def test_nothing_is_a_value_too(tmp_path: Path) -> None:
    write_cached(tmp_path, "nothing", {}, None)
    assert read_cached(tmp_path, "nothing") == ({}, None)


def test_what_was_damaged_is_no_value(tmp_path: Path) -> None:
    write_cached(tmp_path, "x", {"x": torch.arange(3)}, None)
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StorageError, match="cached-x is damaged") as caught:
        read_cached(tmp_path, "x")
    assert f"delete {tmp_path} and run the same command again" in str(caught.value)
