"""UNDO's noise and distillation against their formulas in float64, at their limits, and resumed to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from expunge.errors import RecipeError
from expunge.kinds.language.distilling import Distillation, frozen, taught
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.undo import UNDO, xavier
from expunge.runs.registry import make_method
from expunge.train.step import Step
from killed_work import killed_and_resumed
from tiny import again, ignore_log, load_task, random_blocks, write_table

INNER = {"name": "gradient_difference"}
TRAINING = Training(max_steps=3, learning_rate=1e-3, per_device_train_batch_size=2, num_train_epochs=9)
SHORT = {"of": INNER, "steps": 4, "learning_rate": 1e-3, "recovered": 0}


@pytest.fixture
def work(tiny_model_folder: Path, tmp_path: Path) -> LanguageWork:
    return LanguageWork(
        task=load_task(tiny_model_folder),
        forget=write_table(tmp_path / "forget", random_blocks([12, 9, 12, 10], seed=1)),
        retain=write_table(tmp_path / "retain", random_blocks([11, 12, 8, 11, 12], seed=2), first_label=3),
        training=TRAINING,
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
    )


def gpt2(seed: int) -> CausalLM:
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=200, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.2)
    return CausalLM(GPT2LMHeadModel(config).double().eval(), None)  # type: ignore[arg-type]


def kl(teacher: CausalLM, model: CausalLM, blocks: list[list[int]], first: int) -> float:
    """The mean of sum_v q log(q / p) over all labelled tokens, a token at a time."""
    values = []
    for block in blocks:
        with torch.no_grad():
            logits = [each.model(torch.tensor([block])).logits[0].numpy() for each in (teacher, model)]
        log_q, log_p = (each - np.log(np.exp(each).sum(-1, keepdims=True)) for each in logits)
        values += [
            float((np.exp(log_q[t - 1]) * (log_q[t - 1] - log_p[t - 1])).sum()) for t in range(first, len(block))
        ]
    return float(np.mean(values))


def test_the_distillation_is_the_formulas(work: LanguageWork) -> None:
    teacher, model = gpt2(0), gpt2(1)
    table = taught(work.retained(), teacher)
    loss = Distillation().loss(Step(model, None, table.batch(range(5))))
    expected = kl(teacher, model, random_blocks([11, 12, 8, 11, 12], seed=2), 3)
    assert loss.total.item() == pytest.approx(expected, rel=1e-10)
    assert expected > 0.1


def test_the_distillations_gradient_by_finite_differences(work: LanguageWork) -> None:
    teacher, model = gpt2(0), gpt2(1)
    step = Step(model, None, taught(work.retained(), teacher).batch(range(5)))
    Distillation().loss(step).total.backward()
    for name in ("transformer.h.0.attn.c_attn.weight", "transformer.h.1.ln_2.bias"):
        parameter = model.model.get_parameter(name)
        assert parameter.grad is not None
        flat, place = parameter.detach().view(-1), 7
        kept, values = flat[place].item(), []
        for by in (1e-5, -1e-5):
            flat[place] = kept + by
            values.append(Distillation().loss(step).total.item())
        flat[place] = kept
        assert parameter.grad.view(-1)[place].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


def test_of_itself_a_model_learns_nothing(work: LanguageWork) -> None:
    model = gpt2(0)
    teacher = frozen(model)
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    loss = Distillation().loss(Step(model, None, taught(work.retained(), teacher).batch(range(5)))).total
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-14)
    assert max(float(p.grad.abs().max()) for p in model.model.parameters() if p.grad is not None) < 1e-14


def test_weights_shrink_and_matrices_get_noise() -> None:
    weights = {"w": torch.randn(40, 60).double(), "b": torch.randn(60).double(), "e": torch.randn(3, 40, 20).double()}
    method = UNDO(alpha=0.3, beta=0.5)
    found = method.damaged(weights, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found["b"], 0.7 * weights["b"])
    for name, bound in (("w", np.sqrt(6 / 100)), ("e", np.sqrt(6 / 60))):
        noise = (found[name] - 0.7 * weights[name]) / (0.3 * 0.5)
        assert float(noise.abs().max()) <= bound * (1 + 1e-6)
        assert float(noise.std()) == pytest.approx(bound / np.sqrt(3), rel=0.1)  # of a uniform distribution
        assert abs(float(noise.mean())) < 0.05 * bound
    # The same bound as torch's.
    torch.manual_seed(0)
    theirs = torch.nn.init.xavier_uniform_(torch.empty(40, 60))
    assert float(xavier(theirs, torch.Generator()).abs().max()) == pytest.approx(float(theirs.abs().max()), rel=0.01)
    still = UNDO(alpha=0.3).damaged(weights, torch.Generator())
    assert all(torch.equal(still[name], 0.7 * weights[name]) for name in weights)


def test_without_alpha_it_is_the_method(work: LanguageWork, tiny_model_folder: Path) -> None:
    alone = again(work, tiny_model_folder, "alone")
    alone.carry_out(make_method(INNER))
    work.carry_out(UNDO(of=INNER, alpha=0))
    assert all(torch.equal(value, alone.weights()[name]) for name, value in work.weights().items())
    assert work.cost().steps == alone.cost().steps


def test_it_goes_on_from_what_the_method_made_and_comes_back_to_what_it_says(
    work: LanguageWork, tiny_model_folder: Path
) -> None:
    unlearned = again(work, tiny_model_folder, "unlearned")
    unlearned.carry_out(make_method(INNER))
    damaged = again(work, tiny_model_folder, "damaged")
    method = UNDO(of=INNER, alpha=0.5, beta=0.1, steps=60, learning_rate=3e-3, recovered=0)
    damaged.put(method.damaged(unlearned.weights(), damaged.generator("noise")))
    work.carry_out(method)
    blocks = random_blocks([11, 12, 8, 11, 12], seed=2)
    before, after = (kl(unlearned.task, each.task, blocks, 3) for each in (damaged, work))
    assert after < before / 3
    assert work.cost().steps == 3 + 60
    assert all(parameter.requires_grad for parameter in work.task.model.parameters())


def test_it_ends_as_soon_as_it_is_close(work: LanguageWork) -> None:
    work.carry_out(UNDO(**SHORT | {"recovered": 1e9}))
    assert [each.steps for each in work.trained] == [3, 1]
    assert "nats a token of its teacher" in work.cost().stopped


def test_with_an_adapter_the_method_is_trained_so_and_the_distillation_trains_the_weights(work: LanguageWork) -> None:
    before = work.weights()
    adapted = TRAINING.model_copy(update={"adapter_rank": 2, "max_retain_increase": 50.0})
    replace(work, training=adapted).carry_out(UNDO(**SHORT))
    assert all(not torch.equal(value, before[name]) for name, value in work.weights().items())
    assert work.weights().keys() == before.keys()


def test_killed_anywhere_it_ends_with_the_same_bits(work: LanguageWork, tiny_model_folder: Path) -> None:
    method = UNDO(**SHORT | {"beta": 0.1})
    for whole, resumed in killed_and_resumed(
        work, tiny_model_folder, method, (2, 3, 5, 7)
    ):  # three steps unlearn, four distil
        assert resumed.cost().steps == 7
        assert all(torch.equal(value, whole.weights()[name]) for name, value in resumed.weights().items())


@pytest.mark.parametrize("of", ["sage", "undo", "kookmin", {"name": "spunge"}])
def test_what_it_cannot_wrap(of: Any) -> None:
    with pytest.raises(RecipeError, match="undo cannot wrap"):
        UNDO(of=of)


def test_it_needs_a_retain_set(work: LanguageWork) -> None:
    with pytest.raises(RecipeError, match="needs a retain set"):
        replace(work, retain=None).carry_out(UNDO(of="gradient_ascent"))
