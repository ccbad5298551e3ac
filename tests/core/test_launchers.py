"""What one process does is refused in several, before they join."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge import auditing, spine
from expunge.core.processes import refuse_launcher
from expunge.errors import RecipeError
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import BaseRecipe


def test_several_processes_are_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_launcher("it is done by")
    monkeypatch.setenv("WORLD_SIZE", "2")
    recipe, folder = BaseRecipe.model_construct(), RunFolder(tmp_path / "run")
    with pytest.raises(RecipeError, match="an audit is made in one process") as refused:
        auditing.audit(recipe, folder, auditing.Asked())
    assert "2 processes of a launcher" in str(refused.value)
    with pytest.raises(RecipeError, match="a finished run is measured again by one process"):
        spine.evaluate_run(recipe, folder)
    with pytest.raises(RecipeError, match="measured again by one process"):
        spine.measure_again(recipe, folder, ())
    with pytest.raises(RecipeError, match="measured on a run's data by one process"):
        spine.evaluate_model("model", recipe, folder.recipe)
    assert not folder.path.exists()
