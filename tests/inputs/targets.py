"""What is typed as a target, and what is meant."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import Case

from expunge.data.text.targets import classify_target
from expunge.errors import DataError
from expunge.kinds.language.paths import resolve_paths
from expunge.kinds.language.recipe import Recipe


def typed(target: str, kind: str = "auto") -> Callable[[Path], str]:
    """What a target is taken for in a folder with some books."""

    def use(folder: Path) -> str:
        (folder / "books").mkdir()
        (folder / "harry_potter.txt").write_text("Words.")
        (folder / "Emma by Austen").mkdir()
        (folder / ".hidden").mkdir()
        (folder / "gandalf" / "stages").mkdir(parents=True)
        with contextlib.chdir(folder):
            if kind != "auto":
                return str(resolve_paths(Recipe(forget=target, forget_kind=kind)).forget_kind)  # type: ignore[arg-type]
            return classify_target(target)

    return use


def is_(kind: str) -> Callable[[Any], None]:
    def check(came: Any) -> None:
        assert came == kind

    return check


def kept(target: str) -> Callable[[Path], Any]:
    """What is to be kept, typed wrong, in a folder with some texts."""

    def use(folder: Path) -> Recipe:
        (folder / "others").mkdir()
        with contextlib.chdir(folder):
            return resolve_paths(Recipe(forget="Hogwarts", retain=target))

    return use


def refused(target: str, *says: str) -> Case:
    return Case(what=f"typed: {target}", use=typed(target), refused=DataError, says=("next:", "--topic", *says))


CASES = [
    refused("book", "books/"),
    refused("Books ", "books/"),
    refused("Harry Potter", "harry_potter.txt"),
    refused("emma_by_austen", "Emma by Austen/"),
    refused("harrypotter", "harry_potter.txt"),
    refused("books\\sherlock", "there is no file or folder"),
    refused("C:\\books", "there is no file or folder"),
    refused("~/bookz", "there is no file or folder"),
    refused("chat.jsonl", "there is no file or folder"),
    refused("talk.mbox", "there is no file or folder"),
    refused("film.srt", "there is no file or folder"),
    refused("rows.jsonl.gz", "there is no file or folder"),
    *(
        Case(what=f"a topic: {topic}", use=typed(topic), expect=is_("topic"))
        for topic in (
            "Hogwarts",
            "Sherlock Holmes",
            "Node.js",
            "archive.org",
            "hidden",
            "AC",
            "Jane Austen",
            "cooks",
            "Gandalf",
        )
    ),
    Case(
        what="the retain set, nearly a folder's name",
        use=kept("other"),
        refused=DataError,
        says=("nothing to read at 'other'", "did you mean others/? only the target to forget may be a topic"),
    ),
    Case(what="the retain set, in words", use=kept("all else"), refused=DataError, says=("check the path; only",)),
    Case(what="a topic that is said to be one", use=typed("book", "topic"), expect=is_("topic")),
    Case(what="a topic like a path that is said to be one", use=typed("and/or/not", "topic"), expect=is_("topic")),
]
