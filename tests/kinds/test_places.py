"""What a recipe names, resolved when a run begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge.errors import DataError
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.story import resolve_paths as resolve_generator
from expunge.kinds.language.paths import resolve_paths
from expunge.kinds.language.recipe import Anchors, Evaluation, Recipe, Toxicity


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which commands are typed."""
    monkeypatch.chdir(tmp_path)
    for name in ("1984", "keep.txt", "prompts.jsonl", "anchors.yaml", "ordinary.txt"):
        (tmp_path / name).write_text("x")
    for name in ("tiny", "smollm2-135m", "marks"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_paths_become_absolute(place: Path) -> None:
    resolved = resolve_paths(
        Recipe(
            forget="1984",
            retain="keep.txt",
            model="tiny",
            retrained="./tiny",
            anchors=Anchors(path="anchors.yaml"),
            evaluation=Evaluation(
                prompts="prompts.jsonl", questions="asked.jsonl", benchmarks="marks", ordinary_text="ordinary.txt"
            ),
        )
    )
    assert (resolved.forget, resolved.forget_kind, resolved.retain) == (
        str(place / "1984"),
        "path",
        str(place / "keep.txt"),
    )
    assert (resolved.model, resolved.retrained) == (str(place / "tiny"), str(place / "tiny"))
    assert resolved.anchors.path == str(place / "anchors.yaml")
    evaluation = resolved.evaluation
    assert (evaluation.prompts, evaluation.benchmarks) == (str(place / "prompts.jsonl"), str(place / "marks"))
    assert evaluation.ordinary_text == str(place / "ordinary.txt")
    assert evaluation.questions == str(place / "asked.jsonl")
    assert resolve_paths(resolved) == resolved


def test_what_is_no_path_stays(place: Path) -> None:
    recipe = Recipe(
        forget="Harry Potter", retain="owner/name", retrained="owner/model", evaluation=Evaluation(benchmarks="hub")
    )
    assert resolve_paths(recipe) == recipe.model_copy(update={"forget_kind": "topic"})
    assert recipe.model == "smollm2-135m", "the starter, though a folder of that name is here"
    assert resolve_paths(Recipe(forget="owner/name")).forget_kind == "dataset"


def test_a_retrained_generator_is_trained_where_the_base_is(place: Path) -> None:
    (place / "model").mkdir()
    fields = {"data": "faces", "forget": "age <= 12", "retrained": "auto"}
    assert resolve_generator(GeneratorRecipe(**fields)).retrained == "train"
    assert resolve_generator(GeneratorRecipe(**fields, model="model")).retrained == "none"
    assert resolve_generator(GeneratorRecipe(**fields | {"retrained": "model"})).retrained == str(place / "model")


def test_toxicity_prompts_and_scorers(place: Path) -> None:
    (place / "jigsaw-bilstm").mkdir()

    def resolved(scorer: str) -> str:
        return resolve_paths(
            Recipe(forget="a topic", toxicity=Toxicity(prompts="prompts.jsonl", scorer=scorer))
        ).toxicity.scorer

    assert resolved("jigsaw-bilstm") == "jigsaw-bilstm", "the built-in one, though a folder of that name is here"
    assert resolved("tiny") == str(place / "tiny")
    assert resolved("tiny#rude") == f"{place / 'tiny'}#rude"
    assert resolved("module:function") == "module:function"
    assert resolved("owner/model#rude") == "owner/model#rude"
    toxicity = resolve_paths(
        Recipe(forget="a topic", toxicity=Toxicity(prompts="prompts.jsonl", groups="g.jsonl"))
    ).toxicity
    assert (toxicity.prompts, toxicity.groups) == (str(place / "prompts.jsonl"), str(place / "g.jsonl"))


def test_a_resolved_topic_stays_one_whatever_gets_its_name(place: Path) -> None:
    resolved = resolve_paths(Recipe(forget="Baker Street"))
    (place / "Baker Street").write_text("x")
    assert resolve_paths(resolved) == resolved
    assert resolve_paths(Recipe(forget="Baker Street")).forget_kind == "path"
    assert resolve_paths(Recipe(forget="1984", forget_kind="topic")).forget == "1984"


def test_what_is_said_to_be_a_path_must_be_there(place: Path) -> None:
    with pytest.raises(DataError, match="there is no file or folder 1985") as caught:
        resolve_paths(Recipe(forget="1985", forget_kind="path"))
    assert "did you mean" in str(caught.value)
