"""What cannot be unlearned in memory, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from expunge.errors import DataError, ExpungeError, ModelError, RecipeError
from expunge.kinds.language.recipe import Data

TEXTS = [f"Sherlock Holmes of Baker Street went by, on night {number} of the fog." for number in range(4)]
RETAIN = [f"On the {number}th day a cold wind went over the capital of France, said a man." for number in range(4)]
TRAINING = expunge.Training(max_steps=1, learning_rate=1e-3)


@pytest.fixture(scope="module")
def given(tiny_model_folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(tiny_model_folder), AutoTokenizer.from_pretrained(tiny_model_folder)


def refused(
    kind: type[ExpungeError], words: str, given: tuple[Any, Any], forget: Any = TEXTS, **more: Any
) -> ExpungeError:
    usual = {"retain": RETAIN, "method": "npo", "training": TRAINING} | more
    before = [p.detach().clone() for p in given[0].parameters()]
    with pytest.raises(kind, match=words) as caught:
        expunge.unlearn(*given, forget=forget, **usual)
    assert all(torch.equal(p, old) for p, old in zip(given[0].parameters(), before, strict=True))
    return caught.value


@pytest.mark.parametrize(
    ("forget", "words", "seen"),
    [
        ([], "forget is empty", "no rows"),
        (["", "  "], "forget is empty", "field text is empty: 2"),
        ([[], []], r"forget\[0\] is not text", "list: \\[\\]"),
        ("Harry Potter", "forget is not a list of rows", "Harry Potter"),
        (None, "forget is not a list of rows", "NoneType"),
        ({"text": "Holmes"}, "forget is not a list of rows", "dict"),
        ([*TEXTS, 7], r"forget\[4\] is not text", "int: 7"),
        ([*TEXTS, None], r"forget\[4\] is not text", "NoneType"),
        ([{"text": "Holmes went by"}, {"text": 5}], r"forget\[1\]: the field `text` is not a string", "int"),
        ([{"number": 5}], r"forget\[0\] has no text to read", "number"),
        ([[5, 6, 7], "Holmes"], r"forget\[1\]: input_ids are not token numbers", "Holmes"),
        ([[5, 6, 7], [5, 6.5]], r"forget\[1\]: input_ids are not token numbers", "6.5"),
        ([torch.ones(2, 3, dtype=torch.long)], r"forget\[0\]: input_ids are not token numbers", "Tensor"),
        ([{"input_ids": [5, 6, 7], "labels": [5]}], r"forget\[0\] does not fit together", "3 input_ids, 1 labels"),
        ([[5, -6, 7]], r"forget\[0\] holds a token number below 0", "-6"),
        ([[5, 6, 7, 9, 100_000]], "the forget set has a token that LlamaForCausalLM does not have", "100000"),
        ([[5, 6]], "forget set is too short", "2 tokens"),
    ],
    ids=str,
)
def test_rows(given: tuple[Any, Any], forget: Any, words: str, seen: str) -> None:
    assert seen.replace("\\", "") in str(refused(DataError, words, given, forget).seen)


def test_the_row_in_a_retain_set_is_named_too(given: tuple[Any, Any]) -> None:
    refused(DataError, r"retain\[2\] is not text", given, retain=[*TEXTS[:2], 3])


def test_a_retain_set_that_repeats_the_forget_set(given: tuple[Any, Any]) -> None:
    refused(
        DataError, r"the retain text retain\[1\] repeats the target forget\[0\]", given, retain=[RETAIN[0], TEXTS[2]]
    )


@pytest.mark.parametrize(
    "method",
    [
        "npo",
        {"name": "steering"},
        {"name": "gradient_difference", "surprise_share": 0.5, "retain_weight": 0},
        "targeted_npo",
    ],
    ids=str,
)
def test_a_method_that_needs_a_retain_set(given: tuple[Any, Any], method: Any) -> None:
    refused(RecipeError, "needs a retain set", given, retain=None, method=method)


def test_a_method_that_needs_pairs_or_text(given: tuple[Any, Any]) -> None:
    refused(RecipeError, "needs pairs, an unwanted text and the same as it is wanted", given, method="dpo")
    refused(RecipeError, "makes its labels from text", given, [[5, 6, 7, 8, 9]], method="whos_harry_potter")
    refused(
        RecipeError, "could stand for", given, [{"story": "Holmes went by.", "rewrite": "A man went by."}], method="dpo"
    )


def test_methods_that_are_none_or_for_other_models(given: tuple[Any, Any]) -> None:
    error = refused(RecipeError, "scrub does not work on language models", given, method=expunge.methods.Scrub())
    assert "image classifiers" in str(error.seen)
    refused(RecipeError, "scrub does not work on language models", given, method="scrub")
    refused(RecipeError, "there is no method 'npoo'", given, method="npoo")
    refused(RecipeError, "method is not a method", given, method=5)
    refused(RecipeError, "unlearn has no option sed", given, sed=5)
    refused(RecipeError, "blocks are longer", given, data=Data(block_size=2048))


def test_tokenizers(given: tuple[Any, Any]) -> None:
    model, tokenizer = given
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    small, large = (LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **size)) for vocabulary in (300, 5000))
    refused(ModelError, "has tokens that the model does not know", (small, tokenizer))
    refused(ModelError, "a language model needs its tokenizer", (model, None))
    result = expunge.unlearn(large, tokenizer, forget=TEXTS, method="gradient_ascent", training=TRAINING)
    assert any("of the model's 5,000 tokens: is it the model's own?" in notice for notice in result.notices)


def test_models(given: tuple[Any, Any]) -> None:
    model, tokenizer = given
    error = refused(ModelError, "not a language model of transformers", (nn.Linear(2, 2), None))
    assert "expunge.run" in str(error)
    assert "unwrap_model" in str(refused(ModelError, "not a language model", (nn.DataParallel(model), tokenizer)))
    frozen = AutoModelForCausalLM.from_config(model.config).requires_grad_(False)
    refused(RecipeError, "finds no weights to train", (frozen, tokenizer))


def test_quantised_weights_are_trained_under_an_adapter_alone(given: tuple[Any, Any]) -> None:
    model = AutoModelForCausalLM.from_config(given[0].config)
    model.is_quantized = True  # as transformers marks what it loads in 8 bit
    assert "get_peft_model" in str(refused(ModelError, "weights are quantised", (model, given[1])))


def test_an_adapter_of_prompts(given: tuple[Any, Any]) -> None:
    from peft import PromptTuningConfig, get_peft_model

    plain = AutoModelForCausalLM.from_config(given[0].config)
    model = get_peft_model(plain, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    refused(ModelError, "an adapter of prompts", (model, given[1]))
