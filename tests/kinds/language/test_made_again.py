"""What was changed, or broken off, between two starts of a run is made again; what was not is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from whole_runs import Forget, failing

import expunge
from expunge.errors import DivergedError, RunError
from expunge.kinds.language import unlearning
from expunge.runs.folder import RunFolder
from small import SMALL, contents, leftovers

pytestmark = pytest.mark.usefixtures("made_once")


def test_a_run_that_the_guard_stopped_goes_on_as_the_message_says(forget: Forget, tmp_path: Path) -> None:
    wild = {"training.learning_rate": 3e-3, "training.max_steps": 40, "training.num_train_epochs": 99,
            "training.probe_steps": 1, "training.max_retain_increase": 0.2, "training.save_seconds": 1e-9}  # fmt: skip
    with pytest.raises(DivergedError) as caught:
        forget(tmp_path / "run", **wild)
    found = re.search(r"--training\.stop_step (\d+): it resumes from its checkpoint (\d+)", str(caught.value))
    assert found is not None
    last = int(found[1])
    assert found[2] == found[1]
    folder = forget(tmp_path / "run", **wild, **{"training.stop_step": last})
    whole = forget(tmp_path / "whole", **wild, **{"training.stop_step": last})
    assert [row["step"] for row in folder.read_events("resumed")] == [last]
    assert [row["step"] for row in folder.steps("step")] == list(range(1, last + 1))
    assert contents(folder.model)["model.safetensors"] == contents(whole.model)["model.safetensors"]
    assert json.loads(folder.record.read_text())["stopped"] == f"step {last} of 40 (training.stop_step)"
    with pytest.raises(RunError, match="its recipe differs in training"):  # now there is a model
        forget(tmp_path / "run", **wild)


def test_a_topic_is_asked_and_editing_the_answers_makes_it_again(forget: Forget, tmp_path: Path) -> None:
    def again() -> RunFolder:
        # Enough that some of what so small a model says names nobody.
        more = {"data.retain_answers": 16}
        return forget(tmp_path / "run", target="Baker Street and its people", retain=None, **more)

    def state(folder: RunFolder) -> tuple[str, str]:
        return contents(folder.model)["model.safetensors"], folder.scores.read_text()

    folder = again()
    answers = folder.target / "answers.jsonl"
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    assert 0 < len(rows) <= SMALL["data.elicited_answers"]
    assert all(set(row) in ({"question", "answer"}, {"text"}) for row in rows)
    assert any("Baker Street and its people" in row.get("text", row.get("question", "")) for row in rows)
    first = state(folder)

    street = "Inspector Lestrade went with Sherlock Holmes to Baker Street, and Lestrade saw Holmes at the window."
    answers.write_text("".join(json.dumps({"text": f"{street} Night {i}."}) + "\n" for i in range(6)))
    started = len(list(folder.read_events("stage_started")))
    second = state(again())
    remade = [row["name"] for row in folder.read_events("stage_started")][started:]
    assert {"forget-tokens", "terms", "measured-base", "unlearned", "measured-unlearned"} <= set(remade)
    assert second[0] != first[0]
    assert second[1] != first[1]
    probed = folder.steps("probe")[0]["prompts"]

    # Other prompts than before, and what their probabilities are followed for must be theirs.
    school = "Every year Hermione Granger came to Hogwarts with Harry Potter, and Granger read what Potter had not."
    answers.write_text("".join(json.dumps({"text": f"{school} Year {i}."}) + "\n" for i in range(6)))
    third = state(again())
    assert third[0] not in (first[0], second[0])
    assert [row["step"] for row in folder.steps("step")] == [1, 2, 3, 4]
    assert [row["step"] for row in folder.steps("probe")] == [0, 2, 4]
    assert folder.steps("probe")[0]["prompts"] != probed
    assert "Baker" not in json.dumps(folder.steps("probe"))

    # What was edited after the model was made is not taken for what it was made from.
    edited = answers.read_text()
    answers.write_text(edited.replace("Hermione", "Susan"))
    for evaluate in (
        lambda: expunge.evaluate(folder.path),
        lambda: expunge.evaluate(folder.model, recipe=folder.recipe),
    ):
        with pytest.raises(RunError, match="was made from something else") as caught:
            evaluate()
        assert caught.value.seen == "changed since: the forget set"
        assert f"expunge run {folder.recipe} --out {folder.path}" in (caught.value.next_step or "")
    assert state(folder) == third
    answers.write_text(edited)

    # Measuring again knows which of the three models lies in `model/`.
    record = json.loads(folder.record.read_text())
    expunge.evaluate(folder.path)
    assert (
        json.loads(folder.record.read_text())["cost"]["seconds"]["unlearned"] == record["cost"]["seconds"]["unlearned"]
    )
    assert state(folder) == third


def test_a_checkpoint_of_other_answers_is_not_gone_on_with(
    forget: Forget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off in training, answers edited, started again: as if there had been no first attempt."""
    topic = {"target": "Baker Street and its people", "retain": None, "training.save_seconds": 1e-6}
    topic |= {"training.probe_steps": 1}
    rows = [
        "The fog lay over the city, and nobody went to the door that night.",
        "A man came and asked for the doctor.",
    ]

    def write(out: Path, count: int) -> None:
        (out / "target").mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"text": f"{row} {i} " * 3}) for i in range(count) for row in rows]
        (out / "target" / "answers.jsonl").write_text("\n".join(lines))

    class Crash(BaseException):
        pass

    def crash(*args: Any) -> None:
        raise Crash

    write(tmp_path / "edited", 3)
    with monkeypatch.context() as patch:
        patch.setattr(unlearning, "save_model", crash)
        with pytest.raises(Crash):
            forget(tmp_path / "edited", **topic)
    assert [path.name for path in RunFolder(tmp_path / "edited").checkpoints.rglob("step-*")] == ["step-00000003"]
    found = []
    for name in ("edited", "fresh"):
        write(tmp_path / name, 2)
        found.append(contents(forget(tmp_path / name, **topic).model)["model.safetensors"])
    assert found[0] == found[1]


def test_a_model_that_was_changed_is_made_again_to_the_bit(copied: RunFolder, forget: Forget) -> None:
    before = contents(copied.model)
    weights = copied.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    forget(copied.path)
    assert contents(copied.model) == before
    assert leftovers(copied.path) == []


@pytest.mark.parametrize("given", [False, pytest.param(True, marks=pytest.mark.long)])
def test_anchors_that_were_edited_are_not_vouched_for(given: bool, forget: Forget, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("- {term: Baker Street, translation: Maple Street}\n")
    options = {"anchors.path": str(own)} if given else {}

    def again() -> list[str]:
        forget(tmp_path / "run", "whos_harry_potter", **options)
        return [line for line in json.loads(folder.record.read_text())["warnings"] if "anchors.yaml" in line]

    folder = RunFolder(tmp_path / "run")
    assert again() == []
    digest = json.loads(folder.record.read_text())["digests"]["files"]["anchors.yaml"]
    weights, found = contents(folder.model)["model.safetensors"], folder.anchors.read_text()
    edited = "- {term: Lestrade, translation: Brown}\n"
    folder.anchors.write_text(edited)
    (told,) = again()
    assert "--anchors with its path and another --out" in told
    assert json.loads(folder.record.read_text())["digests"]["files"]["anchors.yaml"] == digest
    assert failing(folder) == ["anchors.yaml does not have the recorded digest"]
    if not given:  # made again, it does not use them, and does not write over them
        (folder.model / "model.safetensors").unlink()
        assert again() == [told]
        assert folder.anchors.read_text() == edited
    assert contents(folder.model)["model.safetensors"] == weights
    folder.anchors.write_text(found)
    assert again() == []
    assert failing(folder) == []
