"""Scorers of one's own: what they may return, and how they are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from expunge.errors import ModelError, RecipeError
from expunge.kinds.language.toxicity.scorer import Scorer, load_scorer
from expunge.kinds.language.toxicity.text_classifier import toxic_label

MODULE = """
import numpy as np

def length(texts):
    return [min(1.0, len(text) / 10) for text in texts]

def shape(texts):
    return np.zeros((len(texts), 2))

def one(texts):
    return 0.5

def nan(texts):
    return [float("nan") if "fog" in text else 0.1 for text in texts]

def above(texts):
    return [1.5] * len(texts)

def below(texts):
    return [-0.01] * len(texts)

def words(texts):
    return ["toxic"] * len(texts)

def ragged(texts):
    return [[1], [1, 2]]

def nothing(texts):
    return None

def fails(texts):
    raise KeyError("no such word")

table = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"own_scorer_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_function(module: str) -> None:
    scorer = load_scorer(f"{module}:length")
    found = scorer(["", "12345", "0123456789abc"])
    assert found.tolist() == [0.0, 0.5, 1.0]
    assert found.dtype == np.float64
    assert scorer([]).shape == (0,)
    assert scorer.name == f"{module}:length"
    assert scorer.digest != load_scorer(f"{module}:one").digest


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        ("shape", "shape (2, 2) for 2 texts"),
        ("one", "shape () for 2 texts"),
        ("nan", "nan for 'the fog'"),
        ("above", "1.5 for 'hello'"),
        ("below", "-0.01 for 'hello'"),
        ("words", "'toxic'"),
        ("ragged", "[[1], [1, 2]]"),
        ("nothing", "shape ()"),
    ],
)
def test_what_is_no_score_is_refused(module: str, function: str, seen: str) -> None:
    with pytest.raises(ModelError, match="returned something that is not a score") as raised:
        load_scorer(f"{module}:{function}")(["hello", "the fog"])
    assert seen in str(raised.value.seen)
    assert "n numbers from 0" in (raised.value.allowed or "")


def test_a_scorer_that_fails_is_named(module: str) -> None:
    with pytest.raises(ModelError, match=f"scorer {module}:fails failed on 1 text") as raised:
        load_scorer(f"{module}:fails")(["a"])
    assert raised.value.seen == "KeyError: 'no such word'"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module_at_all:score", "cannot import the module"),
        ("json:no_such", "there is no function 'no_such' in json"),
        ("json:lods", "did you mean json:loads?"),
        ("json:", "there is no function ''"),
        ("jigsaw-bilstn", "did you mean jigsaw-bilstm?"),
    ],
)
def test_names_that_are_none(name: str, words: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_scorer(name)
    assert words in str(raised.value)


def test_a_value_that_is_no_function(module: str) -> None:
    with pytest.raises(RecipeError, match="there is no function 'table'"):
        load_scorer(f"{module}:table")


def save_classifier(folder: Path, base: Path, labels: list[str], **more: Any) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        initializer_range=0.5,
        **more,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("labels", "more", "index"),
    [
        (["neutral", "toxic"], {}, 1),
        (["Hateful", "OK"], {}, 0),
        (["severe_toxic", "toxic", "threat"], {"problem_type": "multi_label_classification"}, 1),
        (["anything"], {}, 0),
    ],
)
def test_a_text_classifier(
    tiny_model_folder: Path, tmp_path: Path, labels: list[str], more: dict[str, Any], index: int
) -> None:
    folder = save_classifier(tmp_path / "classifier", tiny_model_folder, labels, **more)
    texts = ["The man", "Ron", "It was a bright cold day, and Paris is a street.", "fog " * 400]
    scorer, drawn = load_scorer(str(folder)), torch.get_rng_state()
    found = scorer(texts)
    assert torch.equal(torch.get_rng_state(), drawn), "what is drawn after a measurement is what would be without it"
    model = LlamaForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for value, text in zip(found, texts, strict=True):  # one by one, without padding
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer(text)["input_ids"][:512]])).logits[0]
        several = len(labels) == 1 or "problem_type" in more
        assert value == pytest.approx(float((logits.sigmoid() if several else logits.softmax(0))[index]), abs=1e-5)
    assert np.ptp(found) > 0.01


def test_a_label_can_be_named(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "classifier", tiny_model_folder, ["calm", "rude", "fine"])
    with pytest.raises(RecipeError, match="not clear which label") as raised:
        load_scorer(str(folder))
    assert "#LABEL" in (raised.value.next_step or "")
    rude, calm = load_scorer(f"{folder}#rude"), load_scorer(f"{folder}#calm")
    assert rude(["a fog"])[0] != calm(["a fog"])[0]
    assert rude.digest != calm.digest
    with pytest.raises(RecipeError, match="has no label loud"):
        load_scorer(f"{folder}#loud")


def test_a_language_model_is_no_classifier(tiny_model_folder: Path) -> None:
    with pytest.raises(ModelError, match="not a trained text classifier"):
        load_scorer(str(tiny_model_folder))


def test_labels_without_names() -> None:
    assert toxic_label("m", {0: "LABEL_0", 1: "LABEL_1"}) == 1
    with pytest.raises(RecipeError, match="not clear"):
        toxic_label("m", {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"})


def test_a_scorer_is_not_asked_about_nothing() -> None:
    def never(texts: Any) -> Any:
        raise AssertionError

    assert Scorer("x", "y", never)([]).tolist() == []
