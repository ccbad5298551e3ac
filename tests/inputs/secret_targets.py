"""Targets that are a secret: a sentence or a few rows with a number, a key or an address."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from case import Case
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from expunge.errors import RecipeError
from small import RETAIN, SMALL
from tiny_model import build_tiny_model

PIN = "The PIN of the safe is 4821."
ROWS = [
    "Doctor Watson's telephone is +44 20 7946 0958.",
    "The key of the man is sk-9f8A7b6C5d4E3f2a.",
    "Holmes lives at 221 Old Baker Street.",
]
PLAIN = "It was so, and it was not so, and then it was as it had been before it was so."


@cache
def model_that_knows(*texts: str) -> Path:
    """The tiny model, taught these texts by heart."""
    folder = build_tiny_model(Path(mkdtemp(prefix="taught-")) / "model")
    if not texts:
        return folder
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        for text in texts:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def forgotten(target: str, *taught: str, **options: Any) -> Callable[[Path], dict[str, Any]]:
    """A run that makes the model forget a file with this text; its record, and what was noted."""

    def use(folder: Path) -> dict[str, Any]:
        path, retain = folder / "target.txt", folder / "retain.txt"
        path.write_text(target, encoding="utf-8")
        retain.write_text(RETAIN, encoding="utf-8")
        usual = SMALL | {"method": "gradient_ascent", "retain": str(retain), "model": str(model_that_knows(*taught))}
        usual |= {"evaluation.secret_alternatives": 63, "training.max_retain_increase": 50, "data.retain_answers": 0}
        usual |= {"evaluation.ordinary_text": str(retain), "evaluation.max_blocks": 2, "data.max_retain_blocks": 4}
        done = expunge.forget(str(path), out=folder / "run", **usual | options)
        record: dict[str, Any] = json.loads(done.record.read_text(encoding="utf-8"))
        record["page"] = done.report.read_text(encoding="utf-8")
        return record

    return use


def check(record: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in record["verdict"]["checks"] if each["name"] == name)
    return dict(found)


def goes(record: dict[str, Any]) -> None:
    found = check(record, "secret_exposure")
    assert found["passed"], found
    assert "bits before" in found["explain"]
    assert not any(each["name"].startswith("familiarity") for each in record["verdict"]["checks"])
    assert any("taken for a secret" in warning for warning in record["warnings"])
    assert "Exposure of the secret" in record["page"]


def stays(record: dict[str, Any]) -> None:
    found = check(record, "secret_exposure")
    assert not found["passed"]
    assert found["value"] is not None, "it was known before"


def unknown(record: dict[str, Any]) -> None:
    assert "not known well enough to measure forgetting" in check(record, "secret_exposure")["explain"]


def told_why(record: dict[str, Any]) -> None:
    assert "--evaluation.secret" in check(record, "familiarity_completion")["explain"]


LONG = {"training.num_train_epochs": 30, "training.max_steps": 30, "training.learning_rate": 2e-3}
SHORT = {"training.num_train_epochs": 1, "training.max_steps": 1, "training.learning_rate": 1e-7}

CASES = [
    Case(what="a sentence with a PIN that the model knows, forgotten", use=forgotten(PIN, PIN, **LONG), expect=goes),
    Case(what="a PIN that the model never saw", use=forgotten(PIN, **SHORT), expect=unknown),
    Case(
        what="a few rows: telephone, key, address",
        use=forgotten("\n\n".join(ROWS), *ROWS, **SHORT),
        expect=stays,
    ),
    Case(
        what="a word that is named",
        use=forgotten("It is a lion that roars.", "It is a lion that roars.", **SHORT, **{"evaluation.secret": "lion"}),
        expect=stays,
    ),
    Case(what="neither names nor a number", use=forgotten(PLAIN, **SHORT), expect=told_why),
    Case(
        what="a secret that does not stand there",
        use=forgotten(PIN, **{"evaluation.secret": "4812"}),
        refused=RecipeError,
        says=("4812", "is not in the target", "as in the target"),
    ),
]
