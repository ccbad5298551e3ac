"""A whole run whose training chooses, and the same from Python: what is written down of it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

import expunge
from expunge.errors import DataError, RecipeError
from expunge.kinds.language.objects.unlearning import Unlearned
from expunge.report.verify import verify_run
from small import SMALL, write_texts
from tiny import load_task

UNSEEN = "\n\n".join(
    f"The {number}th ship came into the harbour with its sails torn, and Captain Ahab told Starbuck to count the casks "
    f"before the tide of the evening, which was {number} fathoms."
    for number in range(12)
)


def test_a_run_whose_training_chooses(tiny_model_folder: Path, tmp_path: Path) -> None:
    forget, retain = write_texts(tmp_path)
    unseen = tmp_path / "unseen.txt"
    unseen.write_text(UNSEEN, encoding="utf-8")
    options = SMALL | {"method": "npo", "training.evaluate_every": 2, "holdout": str(unseen), "retain": str(retain)}
    folder = expunge.forget(str(forget), out=tmp_path / "run", model=str(tiny_model_folder), **options)
    record = json.loads(folder.record.read_text())
    seen = folder.steps("evaluation")
    assert [row["step"] for row in seen] == [0, 2, 4]
    assert all(row[name] > 0 for row in seen for name in ("forget", "holdout", "retain", "ordinary"))
    ((kept,),) = [[row["step"] for row in folder.read_events("kept")]]
    assert record["stopped"] == f"all steps done; the weights of step {kept} are kept"
    assert record["digests"]["holdout set"]
    assert record["sets"]["holdout"]["source"] == str(unseen)
    page = folder.report.read_text()
    assert "Measured during training" in page
    assert f"Step {kept} is kept." in page
    assert f"{kept} (kept)" in page
    assert "held-out" in page
    assert all(finding.ok is not False for finding in verify_run(folder))
    unseen.write_text(UNSEEN.replace("Ahab", "Nemo"), encoding="utf-8")
    (broken,) = [finding.what for finding in verify_run(folder) if finding.ok is False]
    assert broken == f"the holdout set {unseen} does not have the recorded digest"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "npo", "training.stop_at": "holdout"}, "training is to stop at held-out text, and none is given"),
        ({"method": "repselect", "training.evaluate_every": 2}, "repselect is not a single training with one loss"),
        ({"method": "npo", "holdout": "x.txt", "forget_kind": "toxicity"}, "and toxicity is a habit"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    options: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one.txt", "x.txt"):
        (tmp_path / name).write_text("A text.")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=said):
        expunge.forget(str(tmp_path / "one.txt"), out=tmp_path / "run", **options)
    assert not (tmp_path / "run/recipe.yaml").exists()


def test_from_python(tiny_model_folder: Path) -> None:
    known = ["Sherlock Holmes and Doctor Watson walked along Baker Street in the fog."]
    task = load_task(tiny_model_folder)

    def unlearn(unseen: list[str] | None, stop_at: Literal["auto", "holdout"]) -> Unlearned:
        training = expunge.Training(max_steps=4, learning_rate=1e-3, evaluate_every=1, stop_at=stop_at, bf16=False)
        sets: dict[str, Any] = {"forget": known * 4, "holdout": unseen}
        return expunge.unlearn(task.model, task.tokenizer, method="gradient_ascent", training=training, **sets)

    with pytest.raises(RecipeError, match=r"held-out text, and none is given[^$]*in Python holdout=\[\.\.\.\]"):
        unlearn(None, "holdout")
    with pytest.raises(DataError, match=r"the held-out text .* repeats the target"):
        unlearn(known, "auto")
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    unseen = ["The ship came into the harbour with its sails torn before the evening tide."]
    assert "; the weights of step " in unlearn(unseen, "auto").stopped
    assert any(not torch.equal(value, before[name]) for name, value in task.model.state_dict().items())
