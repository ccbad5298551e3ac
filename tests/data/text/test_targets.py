"""What a TARGET is taken for."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge.data.text.targets import classify_target, looks_like_path
from expunge.errors import DataError


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "books" / "sherlock").mkdir(parents=True)
    (tmp_path / "books" / "emma.txt").write_text("words")
    (tmp_path / "Harry Potter").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("books", "path"),
        ("books/", "path"),
        ("books/emma.txt", "path"),
        ("./books/sherlock", "path"),
        ("Harry Potter", "path"),  # a folder of that name is there
        ("Sherlock Holmes", "topic"),
        ("Hogwarts", "topic"),
        ("the band AC/DC", "topic"),
        ("Node.js", "topic"),
        ("St. Petersburg", "topic"),
        ("1984", "topic"),
        ("what happened in 2001, and why? " * 20, "topic"),
        ("locuslab/TOFU", "dataset"),
        ("locuslab/TOFU:forget10", "dataset"),
        ("openai/gsm8k", "dataset"),
    ],
)
def test_kinds(target: str, kind: str) -> None:
    assert classify_target(target) == kind


@pytest.mark.parametrize(
    ("target", "step"),
    [
        ("books/sherlok", "did you mean books/sherlock?"),
        ("books/ema.txt", "did you mean books/emma.txt?"),
        ("boks/sherlock/part.txt", "did you mean books?"),
        ("./boks", "did you mean books?"),
        ("emma in town.txt", "books"),
        ("/nowhere/at/all", ""),
        ("~/no such folder", ""),
        ("a/b/c", ""),
        ("rows.jsonl", ""),
        ("scan.PDF", ""),
        ("elsewhere/", ""),
    ],
)
def test_what_looks_like_a_path_must_exist(target: str, step: str) -> None:
    assert looks_like_path(target)
    with pytest.raises(DataError) as caught:
        classify_target(target)
    assert f"there is no file or folder {target}" in str(caught.value)
    assert step in (caught.value.next_step or "")
    assert "topic" in (caught.value.allowed or "")
    with pytest.raises(DataError) as caught:
        classify_target(target, may_be_topic=False)
    assert step in (caught.value.next_step or "")
    assert "topic" not in (caught.value.allowed or "")


@pytest.mark.parametrize("target", ["", "  \n"])
def test_an_empty_target(target: str) -> None:
    with pytest.raises(DataError, match="the target is empty"):
        classify_target(target)


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "old.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(DataError, match=r"old\.txt is a link that leads nowhere[\s\S]*gone\.txt"):
        classify_target("old.txt")
