"""Rows: JSON lines, Parquet and datasets."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from expunge.data.text import rows, text_files
from expunge.data.text.document import Document
from expunge.data.text.notes import Notes
from expunge.data.text.readers import read_documents
from expunge.errors import DataError


def read(target: Path | str) -> list[Document]:
    return list(read_documents(target))


def refused(target: Path | str, *expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read(target)
    for words in expected:
        assert words in str(caught.value)


@pytest.fixture
def lines(tmp_path: Path) -> Any:
    def write(content: str | bytes, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


# JSON lines


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "rows.json", "ROWS.JSONL"])
def test_json_lines(lines: Any, name: str) -> None:
    path = lines('\ufeff{"text": "one\\r\\ntwo", "id": 7}\r\n\n{"question": "q?", "answer": "a", "x": [1]}', name)
    assert read(path) == [Document("one\ntwo", None, f"{path}:1"), Document("a", "q?", f"{path}:3")]


def test_text_counts_where_a_row_has_everything(lines: Any) -> None:
    assert read(lines('{"question": "q", "answer": "a", "text": "t"}'))[0].text == "t"


def test_a_long_row_comes_in_pieces(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "PIECE", 10)
    path = lines('{"text": "first one\\nsecond"}\n{"text": "third"}')
    assert read(path) == [
        Document("first one\n", None, f"{path}:1"),
        Document("second", None, f"{path}:1", True),
        Document("third", None, f"{path}:2"),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"text": "cut', ["is not valid JSON", "cut", "one JSON object a line"]),
        ("{", ["is not valid JSON", "jq -c ."]),
        ('{"text": ' + "[" * 100_000, ["is not valid JSON"]),
        ("[1, 2]", ["is not a JSON object", "[1, 2]"]),
        ('"words"', ["is not a JSON object"]),
        ('{"body": "p", "title": "c"}', ["no text to read", "fields body, title", "`question` and `answer`"]),
        ('{"question": "q"}', ["no text to read", "fields question"]),
        ("{}", ["no text to read", "(none)"]),
        ('{"text": 5}', ["the field `text` is not a string", "int"]),
        ('{"question": ["q"], "answer": "a"}', ["the field `question` is not a string", "list"]),
        ('{"text": "half \\ud83d here"}', ["half a character", "\\ud83d", "character 5"]),
    ],
)
def test_a_bad_row_names_file_and_line(lines: Any, line: str, expected: list[str]) -> None:
    path = lines('{"text": "good"}\n\n' + line + "\n")
    refused(path, f"{path}:3", *expected)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('{"text": null}', "text"),
        ('{"text": " \\n"}', "text"),
        ('{"question": "q", "answer": ""}', "answer"),
        ('{"question": null, "answer": "a"}', "question"),
        ('{"instruction": "", "input": "", "output": "o"}', "instruction"),
        ('{"prompt": "p", "completion": " "}', "completion"),
        ('{"chosen": "", "rejected": ""}', "chosen"),
    ],
)
def test_an_empty_row_is_left_out_and_counted(lines: Any, line: str, field: str) -> None:
    path = lines('{"text": "good"}\n' + f"{line}\n{line}\n")
    notes = Notes()
    assert [document.text for document in read_documents(path, notes)] == ["good"]
    assert notes.lines() == (f"rows left out, since their field {field} is empty: 2",)
    refused(lines(line, "alone.jsonl"), "alone.jsonl is empty", f"their field {field} is empty: 1")


def test_what_may_be_empty_is_no_reason(lines: Any) -> None:
    rows = '{"instruction": "i", "input": "", "output": "o"}\n{"prompt": "", "chosen": "c", "rejected": ""}\n'
    assert [document.text for document in read_documents(lines(rows))] == ["o", "c"]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_a_json_list_is_rows(lines: Any, name: str) -> None:
    path = lines('\ufeff[\n {"text": "a"},\n {"question": "q", "answer": "b"}\n]', name)
    assert read(path) == [Document("a", None, f"{path}:1"), Document("b", "q", f"{path}:2")]


def test_bad_utf8_in_a_row(lines: Any) -> None:
    path = lines(b'{"text": "good"}\n{"text": "caf\xe9"}\n')
    refused(path, f"{path}:2 is not UTF-8", "byte 0xe9 at byte 30", "iconv")


def test_a_binary_file_with_that_name(lines: Any) -> None:
    refused(lines(b"PAR1\x15\x04"), "is not a text file", "a Parquet file", ".parquet")


def test_an_endless_line_is_not_read_whole(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW", 100)
    assert read(lines('{"text": "' + "a" * 88 + '"}'))[0].text == "a" * 88
    refused(lines('{"text": "' + "a" * 200 + '"}'), ":1 is too long for one row", "at most 100 bytes")


def test_an_empty_file_of_rows(lines: Any) -> None:
    refused(lines("\n \n"), "is empty")


# Parquet


def parquet(path: Path, **columns: list[Any]) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_parquet(tmp_path: Path) -> None:
    path = parquet(tmp_path / "rows.parquet", id=[1, 2, 3], text=["one", "two\r\nlines", "three"])
    assert read(path) == [
        Document("one", None, f"{path}:1"),
        Document("two\nlines", None, f"{path}:2"),
        Document("three", None, f"{path}:3"),
    ]
    path = parquet(tmp_path / "questions.parquet", question=["q"], answer=["a"])
    assert read(path) == [Document("a", "q", f"{path}:1")]
    assert len(read(tmp_path)) == 4


def test_parquet_of_categories(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    values = pa.array(["one", "two", "one"]).dictionary_encode()
    assert [d.text for d in read(parquet(tmp_path / "rows.parquet", text=values))] == ["one", "two", "one"]


def test_parquet_without_a_usable_column(tmp_path: Path) -> None:
    path = parquet(tmp_path / "rows.parquet", text=[1, 2], question=["q", "q"], tags=[["a"], ["b"]])
    refused(path, "no usable column", "text (int64), question (string), tags (list", "rename")


def test_empty_cells_are_left_out_and_counted(tmp_path: Path) -> None:
    path, notes = parquet(tmp_path / "rows.parquet", text=["one", None, "", "two"]), Notes()
    assert [document.text for document in read_documents(path, notes)] == ["one", "two"]
    assert notes.lines() == ("rows left out, since their field text is empty: 2",)


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 and then something else")
    refused(path, "is not a Parquet file that can be read")


def without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    genuine = builtins.__import__

    def importer(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == missing:
            raise ImportError(name)
        return genuine(name, *rest)

    monkeypatch.setattr(builtins, "__import__", importer)


def test_parquet_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "rows.parquet", text=["one"])
    without(monkeypatch, "pyarrow")
    refused(path, "needs pyarrow", 'pip install "expunge[parquet]"')


# Datasets


def library(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))


def test_a_data_set_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load(*arguments: Any, **options: Any) -> dict[str, Any]:
        asked.append((arguments, options))
        return {"test": [], "train": iter([{"text": "one"}, {"question": "q", "answer": "a"}])}

    library(monkeypatch, load)
    assert read("owner/name:part") == [
        Document("one", None, "owner/name:part:1"),
        Document("a", "q", "owner/name:part:2"),
    ]
    assert asked == [(("owner/name", "part"), {"streaming": True})]


def test_the_only_split_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, lambda *arguments, **options: {"validation": [{"text": "one"}]})
    assert len(read("owner/name")) == 1
    library(monkeypatch, lambda *arguments, **options: {"validation": [], "test": []})
    refused("owner/name", "no split `train`", "validation, test")


def test_a_bad_row_of_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, lambda *arguments, **options: {"train": [{"text": "one"}, {"body": "two"}]})
    refused("owner/name", "owner/name:2 has no text to read", "fields body")


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    class ConnectError(Exception):
        pass

    def load(*arguments: Any, **options: Any) -> None:
        try:
            raise ConnectError("name resolution failed")
        except ConnectError as error:
            raise RuntimeError("could not load\nmore detail") from error

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    library(monkeypatch, load)
    refused("owner/name", "owner/name cannot be reached", "RuntimeError: could not load", "give the path of its files")


def test_offline_by_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: Any, **options: Any) -> None:
        raise FileNotFoundError("not in the cache")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    library(monkeypatch, load)
    refused("owner/name", "cannot be reached", "not in the cache")


def test_a_data_set_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: Any, **options: Any) -> None:
        raise ValueError("no such dataset")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    library(monkeypatch, load)
    refused("owner/name", "owner/name cannot be read", "no such dataset", "check the id", "for a topic use words")


def test_a_network_that_goes_away_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream() -> Any:
        yield {"text": "one"}
        raise ConnectionError("gone")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    library(monkeypatch, lambda *arguments, **options: {"train": stream()})
    refused("owner/name", "cannot be reached", "gone")


def test_data_sets_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "datasets")
    refused("owner/name", "needs the library datasets", 'pip install "expunge[datasets]"')
