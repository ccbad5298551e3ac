"""Reading files and folders: what comes out, and the error for each kind of bad input."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.data.text import readers, text_files
from expunge.data.text.document import Document, digest_documents
from expunge.data.text.readers import read_documents
from expunge.data.text.text_files import cut_pieces
from expunge.errors import DataError


def read(target: Path | str) -> list[Document]:
    return list(read_documents(target))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# What comes out


def test_a_text_file_stays_as_it_is(tmp_path: Path) -> None:
    text = "  Chapter I.\n\nThe fog\nlay  thick.\n\n\n\tEnd.\n"
    path = write(tmp_path / "book.txt", text)
    assert read(path) == [Document(text, None, f"{path}:1", False)]
    assert read(str(path)) == read(path)


def test_any_ending_is_text(tmp_path: Path) -> None:
    for name in ("notes.md", "LICENSE", "notes.1st"):
        assert read(write(tmp_path / name, "some words"))[0].text == "some words"


def test_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "dos.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\n\r\nfour")
    assert read(path)[0].text == "one\ntwo\nthree\n\nfour"


def test_line_ends_and_characters_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "CHUNK", 1)
    path = write(tmp_path / "dos.txt", "\ufeffé\r\n東京\r\n\r\n😀")
    assert "".join(document.text for document in read(path)) == "é\n東京\n\n😀"


def test_a_long_file_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "PIECE", 20)
    path = write(tmp_path / "book.txt", "one two.\n\nthree.\n\nfour five six seven eight nine.\n\nten")
    assert read(path) == [
        Document("one two.\n\nthree.\n\n", None, f"{path}:1", False),
        Document("four five six seven ", None, f"{path}:5", True),
        Document("eight nine.\n\nten", None, f"{path}:5", True),
    ]


def test_the_limit_of_a_piece(tmp_path: Path) -> None:
    path = write(tmp_path / "book.txt", "word " * 30_000)
    pieces = read(path)
    assert all(len(piece.text) <= text_files.PIECE == 32_768 for piece in pieces)
    assert [piece.continues for piece in pieces] == [False, True, True, True, True]
    assert "".join(piece.text for piece in pieces) == "word " * 30_000


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text("ab \n\t", max_size=40), max_size=12), st.integers(0, 60))
def test_pieces_do_not_depend_on_chunks(chunks: list[str], extra: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "PIECE", 16)
        whole = "".join(chunks) + "x" * extra
        pieces = list(cut_pieces([*chunks, "x" * extra]))
        assert "".join(pieces) == whole
        assert pieces == list(cut_pieces([whole]))
        assert all(0 < len(piece) <= 16 for piece in pieces)


def test_leading_white_space_of_many_pieces_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "PIECE", 4)
    path = write(tmp_path / "book.txt", "\n" * 8 + "word")
    assert read(path) == [Document("word", None, f"{path}:9", False)]


def test_a_folder_is_read_in_order(tmp_path: Path) -> None:
    write(tmp_path / "b.txt", "second")
    write(tmp_path / "a" / "z.md", "first")
    write(tmp_path / "c.jsonl", '{"text": "third"}\n{"question": "q?", "answer": "fourth"}\n')
    assert [(d.text, d.prompt, Path(d.source).name) for d in read(tmp_path)] == [
        ("first", None, "z.md:1"),
        ("second", None, "b.txt:1"),
        ("third", None, "c.jsonl:1"),
        ("fourth", "q?", "c.jsonl:2"),
    ]


def test_what_a_folder_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    readers._log_once.cache_clear()
    folder = tmp_path / "books"
    write(folder / "book.txt", "kept")
    write(folder / ".git" / "config.txt", "hidden")
    write(folder / ".DS_Store", "hidden")
    write(folder / "cover.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF")
    write(folder / "nothing.txt", "")
    write(folder / "space.txt", " \n\n ")
    secret = write(tmp_path / "secret" / "key.txt", "outside")
    (folder / "link.txt").symlink_to(secret)
    (folder / "links").symlink_to(secret.parent)
    (folder / "same.txt").symlink_to(folder / "book.txt")
    os.mkfifo(folder / "pipe.txt")
    with caplog.at_level(logging.WARNING, "expunge"):
        assert [document.text for document in read(folder)] == ["kept"]
        read(folder)
    told = sorted(record.getMessage().replace(str(folder), "") for record in caplog.records)
    assert told == [
        "not read: /cover.jpg: binary (a zero byte at byte 4)",
        "not read: /link.txt: a link that leads out of the folder",
        "not read: /links: a link that leads out of the folder",
        "not read: /nothing.txt: empty",
        "not read: /pipe.txt: no regular file",
        "not read: /same.txt: a link to what is read under its own name",
    ]


def test_the_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "book.txt", "words")
    assert read("~/book.txt")[0].text == "words"


# Digests


def test_the_digest_of_one_text() -> None:
    inner = hashlib.sha256(b"the fog").digest()
    assert digest_documents([Document("the fog", None, "x")]) == hashlib.sha256(b"text" + inner).hexdigest()


def test_the_digest_sees_what_is_said_and_not_where() -> None:
    whole = digest_documents([Document("one two", None, "a:1"), Document("three", None, "a:5")])
    pieces = [Document("one", None, "b:1"), Document(" two", None, "b:2", True), Document("three", None, "c:1")]
    assert digest_documents(iter(pieces)) == whole
    assert digest_documents([Document("one twothree", None, "a:1")]) != whole
    assert digest_documents([Document("three", None, "a:1"), Document("one two", None, "a:5")]) != whole
    question = digest_documents([Document("b", "a", "x")])
    assert question != digest_documents([Document("b", None, "x")])
    assert question != digest_documents([Document("", "ab", "x")])


# Bad input


def refused(target: Path | str, *expected: str) -> DataError:
    with pytest.raises(DataError) as caught:
        read(target)
    for words in expected:
        assert words in str(caught.value)
    return caught.value


def test_a_missing_path_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "sherlock.txt", "x")
    refused(tmp_path / "sherlok.txt", "there is no file or folder", "did you mean", str(tmp_path / "sherlock.txt"))


@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff", "\ufeff\r\n"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "book.txt", content)
    refused(path, f"{path} is empty", "next:")


def test_a_folder_without_text(tmp_path: Path) -> None:
    refused(tmp_path, "has no text", "an empty folder")
    write(tmp_path / "cover.jpg", b"\xff\xd8\x00")
    refused(tmp_path, "has no text", "cover.jpg: binary", ".jsonl")


def test_a_folder_of_white_space(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "\n\n")
    refused(tmp_path, f"{tmp_path} is empty")


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"words\0words", "a zero byte at byte 5"),
        (b"ab\x01\x02\x03\x04 cd", "44% control characters"),
        (b"PK\x03\x04words", "a zip archive"),
        (b"\x1f\x8b\x08words", "a gzip archive"),
    ],
)
def test_a_binary_file(tmp_path: Path, content: bytes, seen: str) -> None:
    path = write(tmp_path / "book.txt", content)
    refused(path, str(path), seen, "UTF-8 text", "next:")


def test_binary_content_late_in_a_file(tmp_path: Path) -> None:
    refused(write(tmp_path / "book.txt", b"word " * 20_000 + b"\0"), "a zero byte at byte 100000")


def test_bad_utf8_names_byte_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "latin.txt", "one\ntwo caf\xe9 three".encode("latin-1"))
    refused(path, f"{path}:2 is not UTF-8", "byte 0xe9 at byte 11", f"iconv -f windows-1252 -t utf-8 {path}")


def test_bad_utf8_across_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "CHUNK", 4)
    # The first two bytes of a three-byte character end a chunk; the next byte does not belong to it.
    path = write(tmp_path / "cut.txt", b"a\n\xe6\x9dx")
    refused(path, f"{path}:2 is not UTF-8", "byte 0xe6 at byte 2")
    refused(write(tmp_path / "end.txt", b"abcdefg\n\xe6\x9d"), ":2 is not UTF-8", "byte 0xe6 at byte 8")


def test_utf16_is_read_and_a_half_of_it_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.txt", "words".encode("utf-16"))
    assert [document.text for document in read(path)] == ["words"] == [document.text for document in read(tmp_path)]
    refused(write(path, "words".encode("utf-16")[:-1]), f"{path} is not in the encoding", "utf-16; byte 10", "UTF-8")


def test_a_pipe_or_device_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    refused(tmp_path / "pipe.txt", "is not a regular file", "a device, pipe or socket")
    refused("/dev/zero", "is not a regular file")


def deny(path: str | os.PathLike[str], mode: str) -> Iterator[bytes]:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The superuser may read everything, so the refusal is put in the way by hand.
    path = write(tmp_path / "book.txt", "words")
    monkeypatch.setattr(text_files, "open", deny, raising=False)
    refused(path, f"{path} may not be read", "Permission denied", "chmod u+r")
    refused(tmp_path, f"{path} may not be read")


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "book.txt", "words")

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    refused(tmp_path, f"cannot list the folder {tmp_path}", "chmod u+rx")


def test_a_disk_that_fails_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def read(self, size: int) -> bytes:
            raise OSError(5, "Input/output error")

    path = write(tmp_path / "book.txt", "words")
    monkeypatch.setattr(text_files, "open", lambda path, mode: Failing(), raising=False)
    refused(path, f"{path} cannot be read", "Input/output error")


def test_a_topic_is_nothing_to_read() -> None:
    refused("Harry Potter", "nothing to read at 'Harry Potter'")
