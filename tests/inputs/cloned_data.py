"""Folders with more in them than text to forget: clones of datasets, PDFs, pictures, names that a page must survive."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from case import Case

from expunge.data.text.files_read import files_read
from expunge.data.text.readers import read_documents
from expunge.kinds.language.toxicity.toxic_text import read_toxic_text

TEXT = "It was a long day in the harbour, and nobody had seen the ship.\n"
CARD = "---\nlicense: cc-by-4.0\n---\n# A dataset\nThis dataset holds stories.\n"


def write(place: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return place


def read(place: Path, files: Mapping[str, str | bytes], target: str = ".") -> tuple[dict[str, Any], str]:
    """(what is listed of the folder, all text that is read of it)."""
    folder = write(place / "data", files) / target
    listed = files_read("forget", str(folder))
    assert listed is not None
    return listed, "\n".join(document.text for document in read_documents(folder))


def names(entry: dict[str, Any], part: str) -> list[str]:
    return [row["file"] for row in entry[part]]


def only_the_story(found: tuple[dict[str, Any], str]) -> None:
    entry, text = found
    assert names(entry, "read") == ["story.txt"]
    assert entry["read"][0]["bytes"] == len(TEXT)
    assert entry["read"][0]["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert (entry["files_read"], entry["bytes_read"], entry["files_unread"]) == (1, len(TEXT), len(entry["unread"]))
    assert "ship" in text
    assert "license" not in text.lower()
    assert all(row["reason"] for row in entry["unread"])


def cloned(found: tuple[dict[str, Any], str]) -> None:
    only_the_story(found)
    reasons = {row["file"]: row["reason"] for row in found[0]["unread"]}
    assert set(reasons) == {
        ".git", ".gitattributes", "README.md", "LICENSE", "LICENSE-CC-BY.txt", "CITATION.cff", "dataset_info.json",
        "state.json", "croissant.json",
    }  # fmt: skip
    assert reasons[".git"] == "hidden"
    assert "named by itself" in reasons["README.md"]


def with_a_pdf(found: tuple[dict[str, Any], str]) -> None:
    only_the_story(found)
    reasons = {row["file"]: row["reason"] for row in found[0]["unread"]}
    assert "PDF" in reasons["scan.pdf"]
    assert reasons["nothing.txt"] == "empty"


def like_cards(found: tuple[dict[str, Any], str]) -> None:
    assert set(names(found[0], "read")) == {"licensed.txt", "license-to-sail.txt", "notices-of-a-captain.md"}
    assert found[0]["unread"] == []


def nothing_but_a_readme(found: tuple[dict[str, Any], str]) -> None:
    assert names(found[0], "read") == ["README.md"]
    assert "stories" in found[1]


def wild_names(found: tuple[dict[str, Any], str]) -> None:
    json.dumps(found[0], ensure_ascii=False).encode()  # the record is UTF-8
    assert sorted(names(found[0], "read")) == ["<b>bold.txt", "caf\\xe9.txt"]


def written_wild(place: Path) -> tuple[dict[str, Any], str]:
    folder = write(place / "data", {"<b>bold.txt": TEXT})
    with open(bytes(folder) + b"/caf\xe9.txt", "wb") as file:
        file.write(TEXT.encode())
    return read(place, {})


def toxic(place: Path) -> Any:
    folder = write(
        place / "data",
        {
            "train.csv": "id,comment_text,toxic\n1,you are awful,1\n2,what a fine day,0\n",
            "prompts.jsonl": json.dumps({"prompt": {"text": "and then"}}) + "\n",
            "README.md": CARD,
            ".git/config": "[core]",
        },
    )
    return read_toxic_text([str(folder)]).sources


def one_table(sources: Any) -> None:
    (source,) = sources
    assert [path.name for path in source.read] == ["train.csv"]
    assert {path.name for path, _ in source.unread} == {"prompts.jsonl", "README.md", "config"}


CASES = [
    Case(
        what="a clone of a dataset, with its card, licence and descriptions",
        use=lambda place: read(
            place,
            {
                "story.txt": TEXT,
                "README.md": CARD,
                "LICENSE": "MIT License\n",
                "LICENSE-CC-BY.txt": "License\n",
                "CITATION.cff": "cff-version: 1.2.0\n",
                ".gitattributes": "*.parquet filter=lfs\n",
                ".git/config": "[core]\n",
                "dataset_info.json": '{"license": "mit"}',
                "state.json": '{"_split": null, "license": ""}',
                "croissant.json": '{"license": "mit"}',
            },
        ),
        expect=cloned,
    ),
    Case(
        what="a PDF and an empty file among text",
        use=lambda place: read(place, {"story.txt": TEXT, "scan.pdf": b"%PDF-1.7\n\x00\x01", "nothing.txt": ""}),
        expect=with_a_pdf,
    ),
    Case(
        what="a README in each of several folders",
        use=lambda place: read(
            place, {"story.txt": TEXT, "a/README.md": CARD, "b/Readme.rst": CARD, "LICENCE.txt": "cc"}
        ),
        expect=only_the_story,
    ),
    Case(
        what="stories whose names only begin like a licence's",
        use=lambda place: read(
            place, {"license-to-sail.txt": TEXT, "licensed.txt": TEXT, "notices-of-a-captain.md": TEXT}
        ),
        expect=like_cards,
    ),
    Case(
        what="a folder that holds nothing but a README",
        use=lambda place: read(place, {"README.md": CARD}),
        expect=nothing_but_a_readme,
    ),
    Case(
        what="a README that is named by itself",
        use=lambda place: read(place, {"README.md": CARD, "story.txt": TEXT}, "README.md"),
        expect=nothing_but_a_readme,
    ),
    Case(what="names with markup and with bytes that are not text", use=written_wild, expect=wild_names),
    Case(what="a table of toxic comments in a clone", use=toxic, expect=one_table),
]
