"""A whole run whose model keeps gated adapters, or an assistant, beside the base: what it says of that, and what the later
verbs make of its folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from expunge.app import chat
from expunge.app.chat import Chat, needs
from expunge.errors import ModelError, RecipeError, RunError
from expunge.evidence.bom import _architecture
from expunge.kinds.language.attacks.relearning import Relearning, Way
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.session import LanguageWork
from expunge.models.gate import gate_of
from expunge.models.source import find_model
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from expunge.runs.publishing import plan_publishing
from expunge.train.precision import Precision
from small import SMALL, leftovers, write_texts

pytestmark = pytest.mark.usefixtures("made_once")
METHODS: dict[str, dict[str, Any]] = {
    "o3": {"method": {"name": "o3", "rank": 2}, "training.learning_rate": 1e-2},
    "uld": {"method": {"name": "uld", "plausible": 0.5}},
}
KEEPS = {
    "o3": "keeps its adapters apart: the saved base still holds what was forgotten",
    "uld": "keeps an assistant: the saved base still holds what was forgotten",
}
both = pytest.mark.parametrize("method", METHODS)


class Finished(NamedTuple):
    """A finished run, read only, and how it was asked for."""

    folder: RunFolder
    options: dict[str, Any]


Runs = Callable[[str], Finished]


@pytest.fixture(scope="module")
def runs(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The run of a method."""
    target, retain = write_texts(tmp_path_factory.mktemp("texts"))
    usual = SMALL | {"target": str(target), "retain": str(retain), "model": str(tiny_model_folder)}

    @cache
    def run(method: str) -> Finished:
        options = usual | METHODS[method]
        return Finished(expunge.forget(out=tmp_path_factory.mktemp(method) / "run", **options), options)

    return run


def loaded(folder: RunFolder) -> Any:
    return LazyModel(find_model(str(folder.path)), Precision(False), as_stored=True)()


def wrong(folder: RunFolder) -> list[str]:
    return [each.what for each in verify_run(folder) if each.ok is False]


@both
def test_it_is_said_wherever_the_result_is(method: str, runs: Runs) -> None:
    finished, keeps = runs(method).folder, KEEPS[method]
    record = json.loads(finished.record.read_text())
    assert record.get("keeps") == keeps
    assert f"{method} {keeps}" in record["warnings"]
    assert f"{method} {keeps}" in [row["text"] for row in finished.read_events("notice")]
    assert f"**This model {keeps}.**" in (finished.model / "README.md").read_text()
    assert f"The result {keeps}; anyone with its files has it." in finished.report.read_text()
    assert leftovers(finished.path) == []
    assert list(finished.checkpoints.iterdir()) == []
    (event,) = finished.read_events("detector" if method == "o3" else "assistant")
    assert event["layers"] == 1
    if method == "uld":
        assert record["cost"]["steps"] == 4
        assert (event["weight"], event["plausible"]) == (0.8, 0.5)


@both
def test_the_base_is_as_it_was_and_what_was_measured_is_all(method: str, runs: Runs, tiny_model_folder: Path) -> None:
    finished = runs(method).folder
    base = AutoModelForCausalLM.from_pretrained(finished.model / "base").state_dict()
    before = AutoModelForCausalLM.from_pretrained(tiny_model_folder).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in base.items())
    scores = expunge.evaluate(str(finished.path), recipe=finished.recipe)
    own = {(each.measure, each.split): each.value for each in finished.read_scores() if each.model == "unlearned"}
    assert {(each.measure, each.split): each.value for each in scores} == own
    theirs = {(each.measure, each.split): each.value for each in finished.read_scores() if each.model == "base"}
    assert own["perplexity", "forget"] != theirs["perplexity", "forget"]


def test_the_card_loads_it_without_expunge(runs: Runs, tmp_path: Path) -> None:
    """What the card says to type writes the text that Expunge writes. Both cards are typed in one process."""
    prompt, program = "Sherlock Holmes and Doctor", "import os, sys\n"
    for method in METHODS:
        folder = runs(method).folder.model
        card = re.findall(r"```python\n(.+?)```", (folder / "README.md").read_text(), re.DOTALL)[-1]
        assert '"Once"' in card
        card = card.replace('"Once"', f'"{prompt}"')
        program += f"os.chdir({str(folder)!r})\n{card}\nprint('said', text.tolist())\n"
    program += "print('imported', [name for name in sys.modules if 'expunge' in name])"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    said, imported = re.findall(r"^said (.+)", done.stdout, re.MULTILINE), done.stdout.rpartition("imported ")[2]
    assert imported.strip() == "[]"
    for method, text in zip(METHODS, said, strict=True):
        task = loaded(runs(method).folder)
        ids = torch.tensor([task.tokenizer(prompt)["input_ids"]])
        with torch.inference_mode():
            own = task.model.generate(ids, do_sample=False, max_new_tokens=40, eos_token_id=-1)
        assert text == str(own.tolist())


@both
def test_it_is_asked_as_any_model(method: str, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "NEW", 40)
    finished = runs(method).folder
    assert needs(finished)["bytes"] > 0
    assert _architecture(finished) == "LlamaForCausalLM"
    said = "".join(Chat().answer(finished, "after", "Who is Holmes?", threading.Event()))
    task = loaded(finished)
    assert said == next(task.generate([task.encode_prompt("Who is Holmes?", chat=True)], 40))[0]


@both
def test_an_audit_says_what_it_keeps(
    method: str, runs: Runs, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beside the base is attacked together with it, and trained with it where the attack trains."""
    monkeypatch.setattr(Relearning, "ways", (Way("given", False, 2e-3), Way("given", True, 5e-3)))
    finished, options = runs(method)
    data = {"base": tiny_model_folder, "forget": options["target"], "retain": options["retain"], "audit.facts": 4}
    data |= {"audit.relearning_steps": 5} | ({"holdout": options["retain"]} if method == "uld" else {})
    folder, result = expunge.audit(finished.model, attacks=["prune", "relearn"], out=tmp_path / "audit", **data)
    assert result["keeps"] == KEEPS[method]
    assert {row["name"] for row in result["attacks"]} == {"prune", "relearn"}
    assert f"<b>This model {KEEPS[method]}.</b>" in (folder.audit / "report.html").read_text()


@both
def test_what_would_give_the_base_away_is_refused(method: str, runs: Runs, tmp_path: Path) -> None:
    finished, options = runs(method)
    with pytest.raises(RunError, match="its base still holds what was forgotten"):
        plan_publishing(finished, "me/forgotten")
    with pytest.raises(ModelError, match="a run begins with a plain model") as caught:
        expunge.forget(out=tmp_path / "next", **options | {"model": str(finished.path), "method": "npo"})
    if method == "o3":
        assert KEEPS["o3"] in str(caught.value.seen)
    else:
        assert "forget everything in one run" in str(caught.value.next_step)
    assert not (tmp_path / "next/recipe.yaml").exists()


def test_a_model_of_the_users_own_cannot_be_given_an_assistant(tiny_model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    with pytest.raises(RecipeError, match=KEEPS["uld"]) as refused:
        expunge.unlearn(model, tokenizer, forget=["Holmes"], retain=["Paris"], method="uld")
    assert "save_pretrained would save the base alone" in str(refused.value.seen)


def test_the_same_again_computes_nothing(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    finished, options = runs("uld")
    monkeypatch.setattr(LanguageWork, "carry_out", lambda *_: pytest.fail("this was done before"))
    weights = finished.model / "assistant/model.safetensors"
    before = weights.stat().st_mtime_ns
    expunge.forget(out=finished.path, **options)
    assert weights.stat().st_mtime_ns == before


def test_files_that_were_changed_are_found(runs: Runs) -> None:
    assert wrong(runs("o3").folder) == []
    finished = runs("uld").folder
    assert wrong(finished) == []
    file = finished.model / "assistant.json"
    kept = file.read_text()
    try:
        file.write_text(kept.replace("0.8", "0.1"))
        assert wrong(finished) == ["model/assistant.json does not have the recorded digest"]
    finally:
        file.write_text(kept)


def test_a_second_request_keeps_the_first_adapter(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished, options = runs("o3")
    second = tmp_path / "second.txt"
    second.write_text(
        "\n\n".join(f"{number} kings of Bohemia came to Irene Adler with photographs." for number in range(20))
    )
    again = options | {
        "target": str(second),
        "method": {"name": "o3", "rank": 2, "earlier": str(finished.path)},
    }
    folder = expunge.forget(out=tmp_path / "run", **again)
    gate, first = (gate_of(loaded(each).model) for each in (folder, finished))
    assert gate is not None
    assert first is not None
    assert len(gate.every) == 2
    for place, (a, b) in first.every[0].matrices.items():
        assert all(torch.equal(*pair) for pair in zip(gate.every[0].matrices[place], (a, b), strict=True))
    (stage,) = folder.stages.glob("unlearned-*/stage.json")
    assert json.loads(stage.read_text())["made_from"]["earlier"]
    monkeypatch.setattr(LanguageWork, "carry_out", lambda *_: pytest.fail("this was done before"))
    expunge.forget(out=folder.path, **again)
