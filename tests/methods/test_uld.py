"""ULD: its assistant's loss in float64, how the assistant is cut out of a model, what is trained, and resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from expunge.errors import ModelError, RecipeError
from expunge.kinds.language.assistants import first_layers
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.uld import ULD
from expunge.methods.uld.assistants_loss import AssistantsLoss
from expunge.models.assistant import subtracted
from expunge.runs.registry import make_method
from expunge.train.step import Step
from killed_work import killed_and_resumed
from small_language import FORGET, RETAIN, row_log_p, small_gpt2
from tiny import ignore_log, load_task, random_blocks, write_table

TRAINING = Training(max_steps=3, learning_rate=1e-2, per_device_train_batch_size=2, num_train_epochs=9, warmup_ratio=0)


def labels(batch: Any) -> list[int]:
    return [int(token) for token in batch.labels[:, 1:][batch.labels[:, 1:] >= 0]]


@pytest.mark.parametrize("weight", [0.0, 1.0, 5.0])
def test_the_loss_is_the_formula(weight: float) -> None:
    task = small_gpt2()
    loss = AssistantsLoss(retain_weight=weight).loss(Step(task, FORGET, RETAIN))
    forget, retain = row_log_p(task, FORGET), row_log_p(task, RETAIN)
    nll = np.mean([-row[token] for row, token in zip(forget, labels(FORGET), strict=True)])
    divergence = np.mean([sum(1 / 200 * (np.log(1 / 200) - value) for value in row) for row in retain])
    assert loss.forget is not None
    assert loss.retain is not None
    assert loss.forget.item() == pytest.approx(nll, rel=1e-10)
    assert loss.retain.item() == pytest.approx(weight * divergence, rel=1e-10)
    assert divergence > 0.1


def test_the_loss_has_its_gradient() -> None:
    task, step = small_gpt2(), None
    step = Step(task, FORGET, RETAIN)
    method = AssistantsLoss(retain_weight=5)
    method.loss(step).total.backward()
    for name in ("transformer.h.1.attn.c_attn.weight", "transformer.h.0.ln_2.bias"):
        parameter = task.model.get_parameter(name)
        assert parameter.grad is not None
        flat, place = parameter.detach().view(-1), 5
        kept, values = flat[place].item(), []
        for by in (1e-5, -1e-5):
            flat[place] = kept + by
            values.append(method.loss(step).total.item())
        flat[place] = kept
        assert parameter.grad.view(-1)[place].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


def test_a_model_that_says_nothing_has_no_retain_loss() -> None:
    task = small_gpt2()
    with torch.no_grad():
        task.model.get_output_embeddings().weight.zero_()
    loss = AssistantsLoss().loss(Step(task, FORGET, RETAIN))
    assert loss.retain is not None
    assert loss.forget is not None
    assert loss.retain.item() == pytest.approx(0, abs=1e-12)
    assert loss.forget.item() == pytest.approx(np.log(200))


def qwen2() -> CausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1}
    layers = {"num_hidden_layers": 4, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=90, max_position_embeddings=64, **sizes, **layers))
    return CausalLM(model.eval(), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", [small_gpt2(layers=4), qwen2()], ids=["gpt2", "qwen2"])
def test_the_first_layers_are_the_model_without_the_others(task: CausalLM) -> None:
    """The state after so many layers, normed and multiplied by the head."""
    cut = first_layers(task)
    assert len(cut.layers) == cut.model.config.num_hidden_layers == 1
    two = first_layers(task, 2)
    assert len(task.layers) == task.model.config.num_hidden_layers == 4
    ids = torch.tensor([[3, 9, 27, 81, 5, 6, 7, 8, 11]])
    body = task.model.base_model
    norm = body.ln_f if hasattr(body, "ln_f") else body.norm
    with torch.no_grad():
        states = task.model(ids, output_hidden_states=True).hidden_states
        for number, each in ((1, cut), (2, two)):
            wanted = task.model.get_output_embeddings()(norm(states[number]))
            torch.testing.assert_close(each.model(ids).logits, wanted)
    assert set(map(id, cut.model.parameters())).isdisjoint(map(id, task.model.parameters()))
    if hasattr(cut.model.config, "layer_types"):
        assert task.model.config.layer_types[:1] == cut.model.config.layer_types


def test_more_layers_than_there_are_are_refused() -> None:
    with pytest.raises(RecipeError, match="fewer layers than its assistant") as caught:
        first_layers(small_gpt2(), 4)
    assert (caught.value.seen, caught.value.allowed) == ("4 of 3", "1 to 3")


def test_a_model_that_cannot_be_cut_is_refused() -> None:
    class Odd(GPT2LMHeadModel):
        def __init__(self, config: GPT2Config) -> None:
            super().__init__(config)
            self.width_of_layers = torch.nn.Linear(4, config.n_layer)

    torch.manual_seed(0)
    odd = Odd(GPT2Config(vocab_size=50, n_embd=8, n_layer=3, n_head=1, n_positions=16)).eval()
    with pytest.raises(ModelError, match="not a model by themselves") as caught:
        first_layers(CausalLM(odd, None), 2)  # type: ignore[arg-type]
    assert caught.value.next_step == "choose a method without an assistant: npo, simnpo"


@pytest.fixture
def work(tiny_model_folder: Path, tmp_path: Path) -> LanguageWork:
    return LanguageWork(
        task=load_task(tiny_model_folder),
        forget=write_table(tmp_path / "forget", random_blocks([12, 9, 12, 10], seed=1)),
        retain=write_table(tmp_path / "retain", random_blocks([11, 12, 8], seed=2)),
        training=TRAINING,
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
    )


@pytest.mark.parametrize("rank", [None, 2])
def test_the_assistant_alone_is_trained(rank: int | None, work: LanguageWork, tiny_model_folder: Path) -> None:
    base = load_task(tiny_model_folder)
    before = work.weights()
    events: list[tuple[str, dict[str, Any]]] = []
    training = TRAINING.model_copy(update={"adapter_rank": rank})
    replace(work, training=training, log=lambda event, **values: events.append((event, values))).carry_out(ULD())
    after = work.weights()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assistant = {name.removeprefix("assistant."): value for name, value in after.items() if name not in before}
    changed = {name for name, value in assistant.items() if not torch.equal(value, before[name])}
    matrices = {name for name in assistant if "proj" in name}
    assert changed == (set(assistant) if rank is None else matrices)
    assert {name for name in before if ".layers.1." not in name} == set(assistant)
    assert isinstance(work.task.model.assistant, LlamaForCausalLM)
    assert not hasattr(work.task.model.assistant, "peft_config")
    assert work.cost().steps == 3
    (said,) = [values for event, values in events if event == "assistant"]
    assert said.items() >= {"layers": 1, "weight": 0.8, "plausible": 0.01}.items()
    with torch.no_grad():
        own, model = (
            float(-torch.cat([score for score, _ in task.token_scores(work.forget.batch([0, 1, 2, 3]))]).mean())
            for task in (CausalLM(work.task.model.assistant, work.task.tokenizer), base)
        )
    assert (said["forget_loss"], said["forget_loss_of_model"]) == pytest.approx((own, model), rel=1e-5)
    notices = [values["text"] for event, values in events if event == "notice"]
    assert any("remembers the forget set less well" in text for text in notices) == (own > model)
    assert [event for event, _ in events].count("phase_step") == 3


def test_what_it_remembers_is_no_longer_said_and_the_rest_is(work: LanguageWork, tiny_model_folder: Path) -> None:
    """A tiny model that was taught both sets: after ULD it says one of them less, and of the other as much."""
    teach = make_method({"name": "fine_tune"})
    taught = Training(max_steps=60, learning_rate=1e-2, per_device_train_batch_size=4, num_train_epochs=99)
    assert work.retain is not None
    for round_, table in enumerate((work.forget, work.retain, work.forget, work.retain)):
        replace(work, training=taught).train(teach, f"taught {round_}", forget=None, retain=table)
    rows = [work.forget.batch([0, 1, 2, 3]), work.retain.batch([0, 1, 2])]

    def known() -> list[float]:
        with torch.no_grad():
            return [work.task.row_nll(batch).mean().item() for batch in rows]

    before = known()
    longer = taught.model_copy(
        update={"max_retain_increase": 0.01, "stop_forget_loss": 0.1}
    )  # neither is the assistant's
    replace(work, training=longer).carry_out(ULD(weight=1.0))
    after = known()
    assert after[0] > before[0] + 1
    assert abs(after[1] - before[1]) < 0.2


def test_it_needs_a_retain_set(work: LanguageWork) -> None:
    with pytest.raises(RecipeError, match="needs a set that is missing"):
        replace(work, retain=None).carry_out(ULD())


def test_without_a_weight_of_the_likely_it_is_the_formula(work: LanguageWork, tiny_model_folder: Path) -> None:
    work.carry_out(ULD(plausible=0, weight=0.5))
    ids = torch.tensor(random_blocks([9]))
    with torch.no_grad():
        base = load_task(tiny_model_folder).model(ids).logits
        own = work.task.model.assistant(ids).logits
        torch.testing.assert_close(work.task.model(ids).logits, base - 0.5 * own)
        torch.testing.assert_close(subtracted(base, own, work.task.model.assistant.difference), base - 0.5 * own)


def test_killed_anywhere_it_ends_with_the_same_bits(work: LanguageWork, tiny_model_folder: Path) -> None:
    for whole, resumed in killed_and_resumed(work, tiny_model_folder, ULD(), (1, 2, 3)):
        assert resumed.cost().steps == 3
        assert all(torch.equal(value, whole.weights()[name]) for name, value in resumed.weights().items())


@pytest.mark.parametrize("by", ["undo", "sage", "spunge", "gru"])
def test_no_other_method_carries_it_out(by: str) -> None:
    with pytest.raises(RecipeError, match=f"{by} cannot wrap uld") as caught:
        make_method({"name": by, "of": "uld"})
    assert "the saved base still holds what was forgotten" in str(caught.value.seen)
