"""Records of older and newer versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expunge.errors import RunError
from expunge.runs.format import FORMAT, read_record


def test_a_record_without_a_number_is_of_the_first_format(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"name": "x"}))
    assert read_record(tmp_path / "record.json") == {"name": "x", "format": FORMAT, "written_as": 1}


def test_no_record_and_a_damaged_one(tmp_path: Path) -> None:
    assert read_record(tmp_path / "record.json") is None
    (tmp_path / "record.json").write_text("[]")
    assert read_record(tmp_path / "record.json") == {}


def test_a_newer_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(RunError, match="newer version of expunge") as caught:
        read_record(tmp_path / "record.json")
    assert caught.value.seen == f"format {FORMAT + 1}"
