"""Files that are whole or missing."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from expunge.core import storage
from expunge.errors import ModelError, StorageError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failing(number: int) -> Callable[..., None]:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.json"
    storage.write_json(file, {"größe": [1, None, 2.5]})
    assert storage.read_json(file) == {"größe": [1, None, 2.5]}
    assert file.read_bytes().endswith(b"}\n")
    assert "größe" in file.read_text(encoding="utf-8")
    assert names(file.parent) == ["a.json"]
    (file.parent / "plain").touch()
    assert file.stat().st_mode == (file.parent / "plain").stat().st_mode


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, -float("inf")]])
def test_what_other_readers_refuse_is_not_written(value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.write_json(tmp_path / "a.json", value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.txt"
    storage.write_text(file, "old")
    monkeypatch.setattr(os, function, failing(errno.ENOSPC))
    with pytest.raises(StorageError) as caught:
        storage.write_text(file, "new")
    assert caught.value.what == f"cannot write {file}"
    assert caught.value.seen == "No space left on device"
    assert "free some space and run the same command again" in str(caught.value)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_interruption_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    storage.write_text(file, "old")

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        storage.write_text(file, "new")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (errno.EACCES, "give yourself permission"),
        (errno.EROFS, "this file system is read-only"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EIO, "check the path"),
    ],
)
def test_every_failure_names_the_next_step(
    number: int, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_beside", failing(number))
    with pytest.raises(StorageError) as caught:
        storage.write_text(tmp_path / "a.txt", "x")
    assert step in (caught.value.next_step or "")
    with pytest.raises(StorageError) as caught, storage.folder_aside(tmp_path / "folder"):
        pass
    assert step in (caught.value.next_step or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StorageError, match="Permission denied"):
            storage.write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o755)


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "a", "x")
    with pytest.raises(StorageError, match="cannot write"):
        storage.write_text(tmp_path / "a" / "b.txt", "x")


def test_safetensors_own_word_for_a_full_disk(tmp_path: Path) -> None:
    class SafetensorError(Exception):
        pass

    with pytest.raises(StorageError, match="free some space"), storage.storage_errors(tmp_path):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError, match="invalid"), storage.storage_errors(tmp_path):
        raise SafetensorError("invalid header")


def test_what_could_not_be_read_on_the_way_is_not_said_to_be_unwritable(tmp_path: Path) -> None:
    """A stage reads other files while it is made."""
    path, missing = tmp_path / "stages" / "terms-1", tmp_path / "book.txt"
    with pytest.raises(StorageError) as caught, storage.folder_aside(path):
        missing.read_text()
    assert caught.value.what == f"cannot read {missing}"
    with pytest.raises(StorageError) as caught, storage.folder_aside(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(missing))
    assert "permission to read" in (caught.value.next_step or "")
    with pytest.raises(StorageError) as caught, storage.folder_aside(path):
        raise OSError(errno.EIO, "Input/output error")
    assert caught.value.what == f"reading or writing failed while {path} was made"
    with pytest.raises(StorageError) as caught, storage.folder_aside(path) as aside:
        (aside / "no" / "such").write_text("x")
    assert caught.value.what == f"cannot write {path}"
    assert list(path.parent.iterdir()) == []


def test_an_error_that_explains_itself_is_left_alone(tmp_path: Path) -> None:
    error = ModelError("cannot load the model", seen="No such file or directory (os error 2)")
    with pytest.raises(ModelError) as caught, storage.folder_aside(tmp_path / "stage"):
        raise error
    assert caught.value is error


def fill(folder: Path, word: str) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "a.txt").write_text(word)


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "stage"
    with storage.folder_aside(path) as aside:
        fill(aside, "first")
        assert not path.exists()
    assert (path / "deep" / "a.txt").read_text() == "first"
    with storage.folder_aside(path) as aside:
        fill(aside, "second")
        assert (path / "deep" / "a.txt").read_text() == "first"
    assert (path / "deep" / "a.txt").read_text() == "second"
    assert names(tmp_path) == ["stage"]
    (tmp_path / "plain").mkdir()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_is_written_where_the_file_system_keeps_no_permissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "chmod", failing(errno.EPERM))
    with storage.folder_aside(tmp_path / "stage") as aside:
        fill(aside, "first")
    assert (tmp_path / "stage" / "deep" / "a.txt").read_text() == "first"


def test_what_a_library_wrote_for_its_owner_alone_is_opened_and_a_folder_keeps_its_group(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with storage.folder_aside(tmp_path / "stage") as aside:
        fill(aside, "first")
        (aside / "deep" / "a.txt").chmod(0o600)
        (aside / "deep").chmod(0o2700)
        special = (aside / "deep").stat().st_mode & 0o7000
    deep = tmp_path / "stage" / "deep"
    assert (deep / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert deep.stat().st_mode & 0o7777 == special | (tmp_path / "stage").stat().st_mode & 0o777


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_inside_leaves_the_old_folder(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "stage"
    with storage.folder_aside(path) as aside:
        fill(aside, "first")

    def fail() -> None:
        with storage.folder_aside(path) as aside:
            fill(aside, "second")
            raise error

    with pytest.raises(error):
        fail()
    assert (path / "deep" / "a.txt").read_text() == "first"
    assert names(tmp_path) == ["stage"]


@pytest.mark.parametrize("failing_call", [1, 2])
def test_a_failing_rename_leaves_the_old_folder(
    failing_call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stage"
    with storage.folder_aside(path) as aside:
        fill(aside, "first")
    replace, calls = os.replace, []

    def sometimes(*args: Any) -> None:
        calls.append(args)
        if len(calls) == failing_call:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*args)

    monkeypatch.setattr(os, "replace", sometimes)
    with pytest.raises(StorageError, match="free some space"), storage.folder_aside(path) as aside:
        fill(aside, "second")
    assert (path / "deep" / "a.txt").read_text() == "first"
    assert names(tmp_path) == ["stage"]


def test_leftovers_of_a_crash_are_cleared_and_a_folder_set_aside_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine stops between the two renames, or in the middle of a file: nothing gets to clean up."""
    storage.write_text(tmp_path / "kept.txt", "kept")
    storage.write_text(tmp_path / ".lock", "")
    path = tmp_path / "model"
    with storage.folder_aside(path) as aside:
        fill(aside, "first")
    (tmp_path / ".model.old-abcd_123").mkdir()
    path.rename(tmp_path / ".model.old-abcd_123" / "old")
    (tmp_path / ".model.aside-defg_456").mkdir()
    fill(tmp_path / ".model.aside-defg_456", "second")

    class Crash(BaseException):
        pass

    def crash(*args: object) -> None:
        raise Crash

    monkeypatch.setattr(os, "fsync", crash)
    monkeypatch.setattr(os, "unlink", crash)
    with pytest.raises(Crash):
        storage.write_text(tmp_path / "scores.json", "x" * 100)
    monkeypatch.undo()
    assert len(names(tmp_path)) == 5
    storage.remove_leftovers(tmp_path)
    assert names(tmp_path) == [".lock", "kept.txt", "model"]
    assert (path / "deep" / "a.txt").read_text() == "first"
    storage.remove_leftovers(tmp_path / "not there")


def test_leftovers_do_not_take_the_place_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    fill(tmp_path / "model", "second")
    (tmp_path / ".model.old-abcd_123" / "old").mkdir(parents=True)
    storage.remove_leftovers(tmp_path)
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "deep" / "a.txt").read_text() == "second"


def test_what_only_looks_like_a_leftover_is_left_alone(tmp_path: Path) -> None:
    """A run folder may be a folder with a user's own hidden files in it."""
    own = [
        ".emacs.d.old-2023",
        ".notes.aside-1",
        ".model.aside-2024-01-01",
        ".notes.aside-20240101",
        "x.aside-abcdefgh",
    ]
    for name in own:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".model.old-20240101" / "weights").mkdir(parents=True)
    (tmp_path / ".model.aside-abcdefgh").mkdir()
    storage.remove_leftovers(tmp_path, "model|target")
    assert names(tmp_path) == sorted([*own, ".model.old-20240101"])


def test_reading_what_is_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a\.json is missing"):
        storage.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b'{"a": 1')
    with pytest.raises(StorageError, match=r"cannot read .*a\.json"):
        storage.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b'"\xff"')
    with pytest.raises(StorageError, match=r"cannot read .*a\.json"):
        storage.read_json(tmp_path / "a.json")


def test_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "CHUNK", 3)
    assert hashlib.sha256(b"abc").hexdigest() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "b").mkdir()
    (tmp_path / "a.txt").write_bytes(b"abc")
    (tmp_path / "b" / "c.txt").write_bytes(b"abcabca")
    (tmp_path / ".hidden").write_bytes(b"x")
    assert storage.digest_folder(tmp_path) == {
        "a.txt": hashlib.sha256(b"abc").hexdigest(),
        "b/c.txt": hashlib.sha256(b"abcabca").hexdigest(),
    }
    assert storage.digest_value({"b": 1, "a": [1, "é"]}) == storage.digest_value({"a": [1, "é"], "b": 1})
    assert storage.digest_value({"a": 1}) != storage.digest_value({"a": 1.5})
    assert storage.digest_value({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
