"""O3: what adapters share in float64 and by finite differences, what is trained, who is told apart, requests in a row."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from expunge.errors import RecipeError
from expunge.kinds.language.gated import earlier_matrices
from expunge.kinds.language.lora import ADAPTER, Adapter, adapter_inputs, inject
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.saving import save_model
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.me_gd import MeGD, from_uniform
from expunge.methods.o3 import O3
from expunge.methods.o3.orthogonal_loss import OrthogonalLoss, shared_by
from expunge.models.gate import gate_of
from expunge.models.source import LoadedModel, find_model, load_model
from expunge.runs.registry import make_method
from expunge.train.step import Step
from killed_work import killed_and_resumed
from tiny import again, ignore_log, load_task, make_batch, random_blocks, write_table

TRAINING = Training(max_steps=3, learning_rate=1e-2, per_device_train_batch_size=3, num_train_epochs=9, warmup_ratio=0)
UNIFORM = {"name": "me_gd", "forget_weight": 1.0, "retain_weight": 0.0}


def blocks(lowest: int, seed: int, count: int = 8) -> list[list[int]]:
    """Blocks of tokens from 60 of the vocabulary: texts of a kind of their own."""
    generator = np.random.default_rng(seed)
    return [(lowest + generator.integers(0, 60, 10 + row % 3)).tolist() for row in range(count)]


@pytest.fixture
def work(tiny_model_folder: Path, tmp_path: Path) -> LanguageWork:
    return LanguageWork(
        task=load_task(tiny_model_folder),
        forget=write_table(tmp_path / "forget", blocks(10, 1)),
        retain=write_table(tmp_path / "retain", blocks(150, 2)),
        training=TRAINING,
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
    )


def test_what_adapters_share_is_the_formula_and_has_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    now = {name: torch.randn(2, 5, generator=generator, dtype=torch.float64).requires_grad_() for name in "qv"}
    earlier = {
        "q": [torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(2)],
        "k": [torch.ones(1, 5)],
    }

    def by_hand() -> float:
        q = now["q"].detach().numpy()
        return sum(float((one.numpy()[i] @ q[j]) ** 2) for one in earlier["q"] for i in range(3) for j in range(2))

    found = shared_by(now, earlier)
    assert found.item() == pytest.approx(by_hand(), rel=1e-12)
    found.backward()
    assert now["v"].grad is None
    flat, gradient = now["q"].detach().view(-1), now["q"].grad
    assert gradient is not None
    for place in range(10):
        kept, values = flat[place].item(), []
        for by in (1e-5, -1e-5):
            flat[place] = kept + by
            values.append(by_hand())
        flat[place] = kept
        assert gradient.view(-1)[place].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)
    across = {"q": [torch.tensor([[0.0, 0.0, 1.0]])]}
    assert shared_by({"q": torch.tensor([[1.0, 2.0, 0.0]])}, across).item() == 0
    assert shared_by({"q": torch.ones(1, 3)}, {}).item() == 0


def test_the_loss_is_the_other_methods_and_what_is_shared(tiny_model_folder: Path) -> None:
    """Over batches of one step it counts once."""
    task = load_task(tiny_model_folder)
    inject(task, ADAPTER, Adapter(rank=2, targets="q_proj|up_proj"), 0)
    now = adapter_inputs(task.model)
    assert {name.rpartition(".")[2] for name in now} == {"q_proj", "up_proj"}
    earlier = {
        name: [torch.randn(3, each.shape[1], generator=torch.Generator().manual_seed(1))] for name, each in now.items()
    }
    squares = sum(((earlier[name][0] @ each.detach().T) ** 2).sum().item() for name, each in now.items())
    step = Step(task, make_batch(random_blocks([9, 6])), None)
    own = MeGD(forget_weight=1, retain_weight=0).loss(step).total.item()
    method = OrthogonalLoss(of=UNIFORM, weight=0.3)
    assert method.loss(step).total.item() == pytest.approx(own)
    assert method.beside(earlier).loss(step).total.item() == pytest.approx(own + 0.3 * squares / 2, rel=1e-5)
    half = replace(step.forget, examples=4.0)
    both = (
        method.loss(Step(task, half, None)).total.item()
        - MeGD(retain_weight=0, forget_weight=1).loss(Step(task, half, None)).total.item()
    )
    assert both == pytest.approx(0.3 * squares / 2 / 2, rel=1e-3)


def known(work: LanguageWork) -> list[float]:
    """Mean nats a token of either set."""
    assert work.retain is not None
    with torch.no_grad():
        sets = [table.batch(range(len(table))) for table in (work.forget, work.retain)]
        return [work.task.row_nll(batch).mean().item() for batch in sets]


def taught(work: LanguageWork) -> None:
    """The tiny model knows both sets."""
    assert work.retain is not None
    longer = Training(max_steps=60, learning_rate=1e-2, per_device_train_batch_size=8, num_train_epochs=99)
    fine_tune = make_method({"name": "fine_tune"})
    replace(work, training=longer).train(
        fine_tune, "taught", forget=None, retain=write_table(work.checkpoints / "both", blocks(10, 1) + blocks(150, 2))
    )


def test_the_forget_set_is_not_said_and_the_rest_is_as_before(work: LanguageWork) -> None:
    taught(work)
    before, weights = known(work), work.weights()
    events: list[tuple[str, dict[str, Any]]] = []
    longer = TRAINING.model_copy(update={"max_steps": 30, "max_retain_increase": 0.01, "stop_forget_loss": 0.1})
    told = replace(work, training=longer, log=lambda event, **values: events.append((event, values)))
    told.carry_out(O3())
    after = known(work)
    assert after[0] > before[0] + 1
    assert after[1] == pytest.approx(before[1], abs=0.2)
    now = work.weights()
    assert all(torch.equal(now[name], value) for name, value in weights.items()), "the model itself stays as it was"
    assert not hasattr(work.task.model, "peft_config")
    (said,) = [values for event, values in events if event == "detector"]
    assert said["layers"] == 1
    assert said["forget_weight"] > 0.8
    assert said["retain_weight"] < 0.1
    assert said["area"] > 0.95
    assert not [values for event, values in events if event == "notice"]
    assert work.cost().steps >= 30


def test_sets_that_are_alike_are_said_to_be(work: LanguageWork, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    alike = replace(work, retain=write_table(tmp_path / "alike", blocks(10, 3)))
    replace(alike, log=lambda event, **values: events.append(values) if event == "notice" else None).carry_out(O3())
    assert any("separates the forget set from the retain set badly" in values["text"] for values in events)


def test_an_adapter_for_each_request(work: LanguageWork, tiny_model_folder: Path, tmp_path: Path) -> None:
    longer = TRAINING.model_copy(update={"max_steps": 12})
    first = replace(work, training=longer)
    first.carry_out(O3(rank=2))
    loaded = load_model(find_model(str(tiny_model_folder)))
    save_model(
        LoadedModel(work.task.model, loaded.tokenizer, loaded.source, torch.float32),
        tmp_path / "run" / "model",
        torch.float32,
    )
    earlier, kept = str(tmp_path / "run"), earlier_matrices(str(tmp_path / "run"))
    assert all(len(each) == 1 and each[0].shape[0] == 2 for each in kept.values())
    shared = {}
    for weight in (0.0, 100.0):
        second = again(
            first, tiny_model_folder, f"second {weight}", forget=write_table(tmp_path / f"{weight}", blocks(90, 5))
        )
        second.carry_out(O3(rank=2, orthogonality=weight, earlier=earlier))
        gate = gate_of(second.task.model)
        assert gate is not None
        assert len(gate.every) == 2
        old, new = (each.matrices for each in gate.every)
        assert all(torch.equal(old[place][0], each[0]) for place, each in kept.items()), "the first one is as it was"
        shared[weight] = shared_by({place: a for place, (a, _) in new.items()}, kept).item()
    assert shared[100.0] < shared[0.0] / 2
    base, batch = load_task(tiny_model_folder), second.forget.batch(range(8))
    with torch.no_grad():
        loss = [float(from_uniform(each.rows(batch).logits.log_softmax(-1)).mean()) for each in (second.task, base)]
    assert loss[0] < 0.95 * loss[1], "and the second request's text is what it acts on"
    method = O3(earlier=earlier)
    assert set(method.made_from) == {"earlier"}
    other = again(first, tiny_model_folder, "other")
    other.task.model.model.norm.weight.data.add_(0.01)
    with pytest.raises(RecipeError, match="belong to another model"):
        other.carry_out(method)


def test_what_cannot_be_is_refused(work: LanguageWork, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="has no model with gated adapters") as caught:
        make_method({"name": "o3", "earlier": str(tmp_path)})
    assert "leave --method.earlier out" in str(caught.value.next_step)
    with pytest.raises(RecipeError, match="fewer layers than the detector"):
        work.carry_out(O3(layers=2))
    with pytest.raises(RecipeError, match="cannot wrap"):
        make_method({"name": "o3", "of": "undo"})
    few = replace(work, forget=write_table(tmp_path / "few", [[5, 6, 7]]))
    with pytest.raises(RecipeError, match="a detector needs more text"):
        few.carry_out(O3())
    for by in ("sage", "gru"):
        with pytest.raises(RecipeError, match=f"{by} cannot wrap o3"):
            make_method({"name": by, "of": "o3"})


def test_of_matrices_that_lie_the_other_way_round(work: LanguageWork, tmp_path: Path) -> None:
    """GPT-2's: acting in full, the adapter is what is merged into its weights."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 200, "n_embd": 16, "n_layer": 4, "n_head": 2, "n_positions": 48}
    task = CausalLM(GPT2LMHeadModel(GPT2Config(**sizes)).eval(), None)  # type: ignore[arg-type]
    merged = deepcopy(task.model)
    table = write_table(tmp_path / "small", random_blocks([12] * 8, seed=1))
    replace(work, task=task, forget=table, retain=None).carry_out(O3(rank=2))
    gate = gate_of(task.model)
    assert gate is not None
    assert gate.every[0].detector.layers == 2
    gate.every[0].detector.boundary = 1e6
    ids = torch.tensor(random_blocks([9], seed=5))
    with torch.no_grad():
        for place, (a, b) in gate.every[0].matrices.items():
            assert bool(b.any())
            merged.get_submodule(place).weight += (2 * b @ a).T
        torch.testing.assert_close(task.model(ids).logits, merged(ids).logits, rtol=1e-5, atol=1e-5)


def test_weights_that_are_spread_are_refused(work: LanguageWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expunge.kinds.language.gated.spread", lambda: True)
    with pytest.raises(RecipeError, match="sharded over processes"):
        work.carry_out(O3())


def test_killed_anywhere_it_ends_with_the_same_bits(work: LanguageWork, tiny_model_folder: Path) -> None:
    for whole, resumed in killed_and_resumed(work, tiny_model_folder, O3(), (1, 3)):
        assert resumed.cost().steps == 3
        assert all(torch.equal(value, whole.weights()[name]) for name, value in resumed.weights().items())
        ids = torch.tensor(random_blocks([8]))
        assert torch.equal(resumed.task.model(ids).logits, whole.task.model(ids).logits)


def test_it_needs_no_retain_set(work: LanguageWork) -> None:
    replace(work, retain=None).carry_out(O3())
    assert isinstance(work.task, CausalLM)
    assert gate_of(work.task.model) is not None
