"""A loop of the user's own: the steps that `unlearn` makes, own batches, a Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from expunge.errors import DataError, RecipeError
from expunge.runs.registry import make_method

WORDS = [f"Sherlock Holmes of Baker Street went by, on night {number} of the fog." for number in range(7)]
RETAIN = [f"On the {number}th day a cold wind went over the capital of France, said a man." for number in range(5)]
SHALLOW = {"name": "rmu", "layer": 2, "trained_layers": 1}


def load(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("method", [{"name": "npo"}, {"name": "jensun"}, SHALLOW], ids=lambda method: method["name"])
def test_its_steps_are_those_of_unlearn(method: dict[str, Any], tiny_model_folder: Path) -> None:
    model, tokenizer = load(tiny_model_folder)
    training = expunge.Training(num_train_epochs=2, learning_rate=1e-3, warmup_ratio=0, bf16=False, max_grad_norm=1e9)
    given = {"forget": WORDS, "retain": RETAIN, "method": method}
    losses = [row["loss"] for row in expunge.unlearn(model, tokenizer, training=training, **given).losses]

    model, tokenizer = load(tiny_model_folder)
    made = expunge.prepare(model, tokenizer, **given)
    assert all(parameter.requires_grad for parameter in model.parameters())
    loss_of = make_method(method)
    trained = [p for name, p in model.named_parameters() if loss_of.trains(name)]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0, fused=True)
    found = []
    for number, step in enumerate(made.steps(batch_size=4, epochs=2)):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 - 0.9e-3 * number / len(losses)
        loss = loss_of.loss(step).total
        loss.backward()
        optimizer.step()
        model.zero_grad()
        found.append(loss.item())
    assert found[0] == pytest.approx(losses[0], rel=1e-6)
    # Adam makes much of the noise in gradients that are nearly 0.
    assert found == pytest.approx(losses, rel=0, abs=0.02 * abs(losses[-1] - losses[0]))


def test_own_batches_are_those_of_a_collator(tiny_model_folder: Path) -> None:
    model, tokenizer = load(tiny_model_folder)
    made = expunge.prepare(model, tokenizer)
    batch = dict(tokenizer(WORDS, return_tensors="pt", padding=True))
    with torch.no_grad():
        reference = made.step(forget=batch).example_nll(made.step(forget=batch).forget)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        wanted = model(**batch, labels=labels).loss
    method = expunge.methods.NPO(beta=0.5)
    step = made.step(forget={**batch, "reference_nll": reference}, retain=batch)
    loss = method.loss(step)
    assert loss.forget.item() == pytest.approx(2 / 0.5 * 0.6931472, rel=1e-5)  # -2 / beta * log sigmoid(0)
    assert loss.retain.item() == pytest.approx(wanted.item(), rel=1e-5)
    loss.total.backward()
    with pytest.raises(ValueError, match="reference_nll, which it did not declare"):
        method.loss(made.step(forget=batch, retain=batch))
    tokenizer.padding_side = "left"
    with pytest.raises(DataError, match="not padded on the right"):
        made.step(forget=dict(tokenizer([*WORDS, "Short."], return_tensors="pt", padding=True)))
    with pytest.raises(DataError, match="the forget batch is not a batch"):
        made.step(forget=WORDS)
    with pytest.raises(RecipeError, match="no sets were given"):
        len(made)


def test_what_is_no_loss_has_no_loop(tiny_model_folder: Path) -> None:
    model, tokenizer = load(tiny_model_folder)
    with pytest.raises(RecipeError, match="Steering is not a loss"):
        expunge.prepare(model, tokenizer, forget=WORDS, retain=RETAIN, method="steering")
