"""Recipes that come with expunge: by name, from any folder, with the files beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge.errors import RecipeError
from expunge.runs.kinds import read_recipe
from expunge.runs.recipe import read_fields
from expunge.runs.shipped import find_recipe, first_sentence, shipped

NAMES = ["age_predictor", "demo", "detoxify", "faces", "people", "robust", "sisa", "taught_book", "whos_harry_potter"]


def test_every_recipe_is_found_by_name_and_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(shipped()) == NAMES
    for name in NAMES:
        recipe = read_recipe(
            Path(name), {"forget": "something", "data": "faces"} if name == "people" else {"forget": "x"}
        )
        assert recipe.to_yaml()
    assert len({first_sentence(path) for path in shipped().values()}) == len(NAMES)
    assert all(20 < len(first_sentence(path)) < 120 for path in shipped().values())


def test_a_file_of_the_same_name_wins_and_a_folder_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(Path("demo")) == shipped()["demo"]
    Path("demo").mkdir()
    assert find_recipe(Path("demo")) == shipped()["demo"]
    Path("robust").write_text("forget: mine\n")
    assert read_fields(Path("robust")) == {"forget": "mine"}


@pytest.mark.parametrize(("named", "meant"), [("recipes/detoxify.yaml", "detoxify"), ("detox", "detoxify")])
def test_a_wrong_name_says_the_right_one(named: str, meant: str) -> None:
    with pytest.raises(RecipeError, match=f"there is no recipe {named}") as error:
        read_fields(Path(named))
    assert error.value.next_step == f"did you mean {meant}?"
    assert "whos_harry_potter" in str(error.value.allowed)


def test_files_beside_a_recipe_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.yaml").write_text("forget: !beside texts/book.txt\n")
    monkeypatch.chdir(tmp_path)
    assert read_fields(Path("kept/mine.yaml"))["forget"] == str(tmp_path / "kept" / "texts" / "book.txt")
    questions = read_fields(Path("demo"))["evaluation"]["questions"]
    assert Path(questions).is_file()
    (tmp_path / "bad.yaml").write_text("forget: !beside [a, b]\n")
    with pytest.raises(RecipeError, match="not valid YAML"):
        read_fields(Path("bad.yaml"))
    (tmp_path / "worse.yaml").write_text("forget: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(RecipeError, match="not valid YAML"):
        read_fields(Path("worse.yaml"))
