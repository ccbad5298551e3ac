"""A run without excerpts: what the forget set says stands where docs/concepts.md says it does, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge import spine
from expunge.errors import RecipeError
from expunge.kinds.language.recipe import make_recipe
from expunge.kinds.language.terms.kept_terms import shared_note
from expunge.runs.folder import RunFolder
from small import SMALL, files, write_texts

CANARY = "Zorblatt"
PLACES = ("stages/", "target/", "anchors.yaml")
"parts of the run folder that hold the text of the forget set, whatever the recipe says"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    forget, retain = write_texts(tmp_path_factory.mktemp("texts"))
    forget.write_text(forget.read_text(encoding="utf-8").replace("Lestrade", CANARY), encoding="utf-8")
    return forget, retain


def with_canary(folder: Path) -> list[str]:
    """Files of a folder in which the canary stands, in any spelling or as bytes of another encoding."""
    wanted = [CANARY.lower().encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-32-le")]
    return [
        file.relative_to(folder).as_posix()
        for file in files(folder)
        if any(each in file.read_bytes().lower() for each in wanted)
    ]


def carried_out(method: str, excerpts: bool, texts: tuple[Path, Path], model: Path, out: Path) -> RunFolder:
    recipe = make_recipe(
        {"model": str(model), "forget": str(texts[0]), "retain": str(texts[1]), "excerpts": excerpts},
        SMALL | {"method": method, "training.probe_steps": 1},
    )
    return spine.run(recipe, out)


def test_a_canary_of_the_forget_set_is_quoted_nowhere(
    texts: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = carried_out("whos_harry_potter", False, texts, tiny_model_folder, tmp_path / "run")
    found = with_canary(folder.path)
    assert [name for name in found if not name.startswith(PLACES)] == []
    assert found != []  # the canary can be found: stages hold it
    assert not folder.answers.exists()
    assert list(folder.read_events("probe")) == []
    assert "Nothing is quoted" in folder.report.read_text(encoding="utf-8")


def test_a_short_target_that_is_taken_for_a_secret_is_not_quoted(
    texts: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(f"The password of the safe is {CANARY}-48151623.\n", encoding="utf-8")
    folder = carried_out("gradient_ascent", False, (secret, texts[1]), tiny_model_folder, tmp_path / "run")
    assert "taken for a secret (found in it: 1)" in folder.record.read_text(encoding="utf-8")
    assert [name for name in with_canary(folder.path) if not name.startswith(PLACES)] == []
    for name in ("record.json", "report.html", "events.jsonl", "model/README.md"):
        assert "48151623" not in (folder.path / name).read_text(encoding="utf-8")


def test_terms_that_the_retain_set_has_are_counted_and_not_named() -> None:
    assert CANARY in shared_note([CANARY])[0]
    assert shared_note([CANARY], quoted=False) == ["1 term was left out, since the retain set has it about as often"]


def test_with_excerpts_it_is_quoted(texts: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = carried_out("gradient_ascent", True, texts, tiny_model_folder, tmp_path / "run")
    found = with_canary(folder.path)
    assert {"answers.json", "report.html", "events.jsonl"} <= set(found)


def test_a_secret_in_the_recipe_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"evaluation\.secret is text of the forget set"):
        make_recipe({"forget": "x", "excerpts": False}, {"evaluation.secret": "4711"})
