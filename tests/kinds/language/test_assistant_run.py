"""A whole run whose model keeps an assistant: what it says of that, and what the later verbs make of its folder."""

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
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from expunge.app.chat import Chat, needs
from expunge.errors import ModelError, RecipeError, RunError
from expunge.evidence.bom import _architecture
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.session import LanguageWork
from expunge.models.source import find_model
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from expunge.runs.publishing import plan_publishing
from expunge.train.precision import Precision
from small import SMALL, leftovers, write_texts

KEEPS = "keeps an assistant: the saved base still holds what was forgotten"


@pytest.fixture(scope="module")
def options(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    target, retain = write_texts(tmp_path_factory.mktemp("texts"))
    return SMALL | {
        "target": str(target),
        "method": {"name": "uld", "plausible": 0.5},
        "retain": str(retain),
        "model": str(tiny_model_folder),
    }


@pytest.fixture(scope="module")
def finished(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run. Read only."""
    return expunge.forget(out=tmp_path_factory.mktemp("assistant") / "run", **options)


def test_it_is_said_wherever_the_result_is(finished: RunFolder) -> None:
    record = json.loads(finished.record.read_text())
    assert record["keeps"] == KEEPS
    assert f"uld {KEEPS}" in record["warnings"]
    assert f"uld {KEEPS}" in [row["text"] for row in finished.read_events("notice")]
    assert f"**This model {KEEPS}.**" in (finished.model / "README.md").read_text()
    assert f"The result {KEEPS}; anyone with its files has it." in finished.report.read_text()
    assert record["cost"]["steps"] == 4
    (event,) = finished.read_events("assistant")
    assert (event["layers"], event["weight"], event["plausible"]) == (1, 0.8, 0.5)
    assert leftovers(finished.path) == []
    assert list(finished.checkpoints.iterdir()) == []


def test_the_model_as_saved_is_what_was_measured(finished: RunFolder, tiny_model_folder: Path) -> None:
    nll = {(score.split, score.model): score.value for score in finished.read_scores() if score.measure == "perplexity"}
    assert nll["forget", "unlearned"] != nll["forget", "base"]
    base = AutoModelForCausalLM.from_pretrained(finished.model / "base").state_dict()
    before = AutoModelForCausalLM.from_pretrained(tiny_model_folder).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in base.items())


def test_the_card_loads_it_without_expunge(finished: RunFolder) -> None:
    """What the card says to type writes the text that Expunge writes."""
    card = (finished.model / "README.md").read_text()
    code = re.findall(r"```python\n(.+?)```", card, re.DOTALL)[-1]
    code += "\nimport sys\nprint([name for name in sys.modules if 'expunge' in name], text.tolist())"
    found = subprocess.run([sys.executable, "-c", code], cwd=finished.model, capture_output=True, text=True, check=True)
    task = LazyModel(find_model(str(finished.path)), Precision(False), as_stored=True)()
    prompt = task.tokenizer("Once")["input_ids"]
    with torch.inference_mode():
        said = task.model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=40, eos_token_id=-1)
    assert found.stdout.rpartition("[] ")[2].strip() == str(said.tolist())


def test_the_same_again_computes_nothing(
    finished: RunFolder, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LanguageWork, "carry_out", lambda *_: pytest.fail("this was done before"))
    weights = finished.model / "assistant/model.safetensors"
    before = weights.stat().st_mtime_ns
    expunge.forget(out=finished.path, **options)
    assert weights.stat().st_mtime_ns == before


def test_files_that_were_changed_are_found(finished: RunFolder, options: dict[str, Any]) -> None:
    assert not [each.what for each in verify_run(finished) if each.ok is False]
    file = finished.model / "assistant.json"
    kept = file.read_text()
    try:
        file.write_text(kept.replace("0.8", "0.1"))
        wrong = [each.what for each in verify_run(finished) if each.ok is False]
        assert wrong == ["model/assistant.json does not have the recorded digest"]
    finally:
        file.write_text(kept)


def test_it_is_measured_and_asked_as_any_model(finished: RunFolder) -> None:
    scores = expunge.evaluate(str(finished.path), recipe=finished.recipe)
    own = {(each.measure, each.split): each.value for each in finished.read_scores() if each.model == "unlearned"}
    assert {(each.measure, each.split): each.value for each in scores} == own
    assert needs(finished)["bytes"] > 0
    assert _architecture(finished) == "LlamaForCausalLM"
    said = "".join(Chat().answer(finished, "after", "Who is Holmes?", threading.Event()))
    task = LazyModel(find_model(str(finished.path)), Precision(False), as_stored=True)()
    assert said == next(task.generate([task.encode_prompt("Who is Holmes?", chat=True)], 160))[0]


def test_an_audit_says_what_it_keeps(
    finished: RunFolder, options: dict[str, Any], tiny_model_folder: Path, tmp_path: Path
) -> None:
    """Both models are attacked together, and trained together where the attack trains."""
    data = {"base": tiny_model_folder, "forget": options["target"], "retain": options["retain"], "audit.facts": 4}
    data["audit.relearning_steps"] = 5
    folder, result = expunge.audit(
        finished.model, attacks=["prune", "relearn"], holdout=options["retain"], out=tmp_path / "audit", **data
    )
    assert result["keeps"] == KEEPS
    assert {row["name"] for row in result["attacks"]} == {"prune", "relearn"}
    assert f"<b>This model {KEEPS}.</b>" in (folder.audit / "report.html").read_text()


def test_what_would_give_the_base_away_is_refused(
    finished: RunFolder, options: dict[str, Any], tiny_model_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="its base still holds what was forgotten"):
        plan_publishing(finished, "me/forgotten")
    with pytest.raises(ModelError, match="a run begins with a plain model") as caught:
        expunge.forget(out=tmp_path / "next", **options | {"model": str(finished.path), "method": "npo"})
    assert "forget everything in one run" in str(caught.value.next_step)
    assert not (tmp_path / "next/recipe.yaml").exists()
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    with pytest.raises(RecipeError, match=KEEPS) as refused:
        expunge.unlearn(model, tokenizer, forget=["Holmes"], retain=["Paris"], method="uld")
    assert "save_pretrained would save the base alone" in str(refused.value.seen)
