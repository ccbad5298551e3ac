"""The stages of generic labels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from expunge.core import storage
from expunge.kinds.language.blocks import Block
from expunge.kinds.language.recipe import Anchors, Recipe
from expunge.kinds.language.terms import endpoint as anchor_endpoint
from expunge.kinds.language.terms.anchors import Anchor, AnchorDictionary
from expunge.kinds.language.token_dataset import TokenTable
from expunge.methods.whos_harry_potter import WhosHarryPotter, stages
from expunge.methods.whos_harry_potter.labels import Labels
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.train.step import IGNORED

TWO_BLOCKS = [
    Block([1, 2, 3], [(0, 1), (1, 2), (2, 3)], "abc", 0, "x"),
    Block([4, 5], [(0, 1), (1, 2)], "de", 0, "x"),
]


def labelled(folder: Path, monkeypatch: pytest.MonkeyPatch, changed: int) -> tuple[Run[Recipe], TokenTable, list[Any]]:
    """A run, its table of two blocks whose labels are their own tokens, but for the token `changed`; and every pass over
    the blocks."""
    passes = []

    def blocks(*args: Any) -> list[Block]:
        passes.append(args)
        return TWO_BLOCKS

    def label(group: list[Block], *args: Any) -> list[Labels]:
        return [Labels([IGNORED, *(token + (token == changed) for token in block.ids[1:])]) for block in group]  # type: ignore[arg-type]

    monkeypatch.setattr(stages, "blocks", blocks)
    monkeypatch.setattr(stages, "generic_labels", label)
    reinforced: Any = SimpleNamespace(base=SimpleNamespace(tokenizer=None), digest="r")
    text: Any = SimpleNamespace(digest="t")
    run = Run(Recipe(forget="x"), RunFolder(folder).create())
    return run, stages.label_table(run, WhosHarryPotter(), reinforced, AnchorDictionary([]), text, 2), passes


def test_labels_take_one_pass_over_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenizing a long target takes minutes: it is done once."""
    run, table, passes = labelled(tmp_path, monkeypatch, changed=5)
    assert len(passes) == 1
    assert len(table) == 2
    # the labels 2, 3 and 6: two of them are the text's own tokens
    assert storage.read_json(table.folder / "labels.json") == {"tokens": 5, "labelled": 3, "equal_to_text": 2 / 3}
    assert run.notices() == []


def test_labels_that_are_the_text_are_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _, _ = labelled(tmp_path, monkeypatch, changed=0)
    (notice,) = run.notices()
    assert notice.startswith("100% of the generic labels are the text's own tokens")
    assert "--method.alpha, now 5" in notice


def test_an_endpoint_is_shown_a_few_passages_and_no_others_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target may be far larger than memory."""
    alive: set[int] = set()
    most = 0

    class Text(str):
        def __del__(self) -> None:
            alive.discard(id(self))

    def texts(block: int) -> tuple[str, int]:
        nonlocal most
        text = Text(f"passage {block}")
        alive.add(id(text))
        most = max(most, len(alive))
        return text, 0

    shown: list[str] = []

    def propose(url: str, model: str, passages: list[str], api_key: str | None) -> AnchorDictionary:
        shown.extend(passages)
        return AnchorDictionary([Anchor("Holmes", "Smith")])

    monkeypatch.setattr(stages, "blocks", lambda *args: iter(range(1000)))
    monkeypatch.setattr(stages, "own_text", texts)
    monkeypatch.setattr(anchor_endpoint, "anchors_from_endpoint", propose)
    reinforced: Any = SimpleNamespace(base=SimpleNamespace(tokenizer=None), digest="r")
    text: Any = SimpleNamespace(digest="t")
    recipe = Recipe(forget="x", anchors=Anchors(url="http://localhost"))
    found, file = stages.anchors(Run(recipe, RunFolder(tmp_path).create()), reinforced, text, 1000)
    assert [anchor.term for anchor in found] == ["Holmes"]
    assert "Holmes" in file.read_text()
    assert shown == [f"passage {number}" for number in range(0, 1000, 25)]
    assert most <= 42
