"""A whole run whose model keeps gated adapters: what it says of that, a second request, and what later verbs make of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import expunge
from expunge.app.chat import Chat
from expunge.errors import ModelError, RunError
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.session import LanguageWork
from expunge.models.gate import gate_of
from expunge.models.source import find_model
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from expunge.runs.publishing import plan_publishing
from expunge.train.precision import Precision
from small import SMALL, leftovers, write_texts

KEEPS = "keeps its adapters apart: the saved base still holds what was forgotten"


@pytest.fixture(scope="module")
def options(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    target, retain = write_texts(tmp_path_factory.mktemp("texts"))
    return SMALL | {
        "target": str(target),
        "method": {"name": "o3", "rank": 2},
        "training.learning_rate": 1e-2,
        "retain": str(retain),
        "model": str(tiny_model_folder),
    }


@pytest.fixture(scope="module")
def finished(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run. Read only."""
    return expunge.forget(out=tmp_path_factory.mktemp("gated") / "run", **options)


def loaded(folder: RunFolder) -> Any:
    return LazyModel(find_model(str(folder.path)), Precision(False), as_stored=True)()


def test_it_is_said_wherever_the_result_is(finished: RunFolder) -> None:
    record = json.loads(finished.record.read_text())
    assert record["keeps"] == KEEPS
    assert f"o3 {KEEPS}" in record["warnings"]
    assert f"**This model {KEEPS}.**" in (finished.model / "README.md").read_text()
    assert f"The result {KEEPS}; anyone with its files has it." in finished.report.read_text()
    (event,) = finished.read_events("detector")
    assert event["layers"] == 1
    assert leftovers(finished.path) == []
    assert list(finished.checkpoints.iterdir()) == []


def test_the_base_is_as_it_was_and_what_was_measured_is_all(finished: RunFolder, tiny_model_folder: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(finished.model / "base").state_dict()
    before = AutoModelForCausalLM.from_pretrained(tiny_model_folder).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in base.items())
    scores = expunge.evaluate(str(finished.path), recipe=finished.recipe)
    own = {(each.measure, each.split): each.value for each in finished.read_scores() if each.model == "unlearned"}
    assert {(each.measure, each.split): each.value for each in scores} == own
    theirs = {(each.measure, each.split): each.value for each in finished.read_scores() if each.model == "base"}
    assert own["perplexity", "forget"] != theirs["perplexity", "forget"]


def test_the_card_loads_it_without_expunge(finished: RunFolder) -> None:
    """What the card says to type writes the text that Expunge writes."""
    card = (finished.model / "README.md").read_text()
    code = re.findall(r"```python\n(.+?)```", card, re.DOTALL)[-1].replace('"Once"', '"Sherlock Holmes and Doctor"')
    code += "\nimport sys\nprint([name for name in sys.modules if 'expunge' in name], text.tolist())"
    found = subprocess.run([sys.executable, "-c", code], cwd=finished.model, capture_output=True, text=True, check=True)
    task = loaded(finished)
    prompt = task.tokenizer("Sherlock Holmes and Doctor")["input_ids"]
    with torch.inference_mode():
        said = task.model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=40, eos_token_id=-1)
    assert found.stdout.rpartition("[] ")[2].strip() == str(said.tolist())


def test_it_is_asked_verified_and_audited(
    finished: RunFolder, options: dict[str, Any], tiny_model_folder: Path, tmp_path: Path
) -> None:
    said = "".join(Chat().answer(finished, "after", "Who is Holmes?", threading.Event()))
    task = loaded(finished)
    assert said == next(task.generate([task.encode_prompt("Who is Holmes?", chat=True)], 160))[0]
    assert not [each.what for each in verify_run(finished) if each.ok is False]
    data = {"base": tiny_model_folder, "forget": options["target"], "retain": options["retain"], "audit.facts": 4}
    folder, result = expunge.audit(finished.model, attacks=["prune", "relearn"], out=tmp_path / "audit", **data)
    assert result["keeps"] == KEEPS
    assert {row["name"] for row in result["attacks"]} == {"prune", "relearn"}
    assert f"<b>This model {KEEPS}.</b>" in (folder.audit / "report.html").read_text()


def test_a_second_request_keeps_the_first_adapter(
    finished: RunFolder, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second.txt"
    second.write_text(
        "\n\n".join(f"{number} kings of Bohemia came to Irene Adler with photographs." for number in range(20))
    )
    again = options | {"target": str(second), "method": {"name": "o3", "rank": 2, "earlier": str(finished.path)}}
    folder = expunge.forget(out=tmp_path / "run", **again)
    gate, first = (gate_of(loaded(each).model) for each in (folder, finished))
    assert gate is not None
    assert first is not None
    assert len(gate.every) == 2
    for place, (a, b) in first.every[0].matrices.items():
        assert all(torch.equal(*both) for both in zip(gate.every[0].matrices[place], (a, b), strict=True))
    (stage,) = folder.stages.glob("unlearned-*/stage.json")
    assert json.loads(stage.read_text())["made_from"]["earlier"]
    monkeypatch.setattr(LanguageWork, "carry_out", lambda *_: pytest.fail("this was done before"))
    expunge.forget(out=folder.path, **again)


def test_what_would_give_the_base_away_is_refused(finished: RunFolder, options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="its base still holds what was forgotten"):
        plan_publishing(finished, "me/forgotten")
    with pytest.raises(ModelError, match="a run begins with a plain model") as caught:
        expunge.forget(out=tmp_path / "next", **options | {"model": str(finished.path), "method": "npo"})
    assert KEEPS in str(caught.value.seen)
