"""What one process does is refused in several, before they join."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge import auditing, spine
from expunge.core.processes import refuse_launcher
from expunge.errors import RecipeError
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.language.recipe import Recipe
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import BaseRecipe


def test_several_processes_are_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_launcher("it is done by")
    monkeypatch.setenv("WORLD_SIZE", "2")
    recipe, folder = BaseRecipe.model_construct(), RunFolder(tmp_path / "run")
    with pytest.raises(RecipeError, match="measured again by one process") as refused:
        spine.measure_again(recipe, folder, ())
    assert "2 processes of a launcher" in str(refused.value)
    assert not folder.path.exists()


def test_classifiers_in_shards_are_neither_audited_nor_measured_in_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    recipe, folder = ImageRecipe.model_construct(method={"name": "sisa"}), RunFolder(tmp_path / "run")
    works = (
        lambda: auditing.audit(recipe, folder, auditing.Asked()),
        lambda: spine.evaluate_run(recipe, folder),
        lambda: spine.evaluate_model("model", recipe, folder.recipe),
    )
    for work in works:
        with pytest.raises(RecipeError, match="sharded classifiers are trained in one process, and measured there"):
            work()
    assert not folder.path.exists()


def test_an_audit_refuses_weights_that_are_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(RecipeError, match="an audit changes whole models"):
        auditing.audit(Recipe(forget="x"), RunFolder(tmp_path / "run"), auditing.Asked())
