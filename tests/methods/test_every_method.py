"""What every method must keep to; a new file in `expunge/methods` is tested by being there."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pydantic
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.engine.loop import train
from expunge.errors import RecipeError
from expunge.methods import discovery
from expunge.methods.base import Method
from expunge.methods.discovery import built_in, installed, make_method, method_class
from expunge.models.saving import save_model
from expunge.models.source import find_model, load_model
from expunge.recipe import Training
from expunge.tasks.base import Step
from expunge.tasks.causal_lm import CausalLM
from tiny import ignore_log, make_batch, random_blocks, write_table

every_method = pytest.mark.parametrize("name", built_in())


def test_the_methods_that_come_with_it() -> None:
    assert built_in() == ["fine_tune", "gradient_ascent", "gradient_difference", "whos_harry_potter"]
    assert installed() == {}


@every_method
def test_one_file_one_class_named_alike(name: str) -> None:
    kind = method_class(name)
    assert issubclass(kind, Method)
    assert kind.__module__ == f"expunge.methods.{name}"
    assert kind.__name__ == "".join(part.capitalize() for part in name.split("_"))
    assert kind.loss is not Method.loss


@every_method
def test_the_docstring_cites_its_paper_and_holds_its_formula(name: str) -> None:
    kind = method_class(name)
    assert "arXiv:" in kind.citation()
    assert "\n" not in kind.citation()
    assert kind.formulas().startswith(("L =", "v_{generic} ="))
    assert r"\log p_\theta" in kind.formulas()
    assert (inspect.getdoc(kind) or "").count("$$") == 2 * len(kind.formulas().split("\n\n"))


@every_method
def test_every_hyper_parameter_has_a_default_and_says_what_it_is(name: str) -> None:
    for field, info in method_class(name).model_fields.items():
        assert not info.is_required(), field
        assert info.description, field


@every_method
def test_it_is_frozen(name: str) -> None:
    method = make_method({"name": name})
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        method.retain_weight = 3  # type: ignore[attr-defined]


@every_method
def test_an_unknown_hyper_parameter_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"method {name}: there is no field retain_wieght") as caught:
        make_method({"name": name, "retain_wieght": 1.0})
    known = method_class(name).model_fields
    assert caught.value.next_step == ("did you mean retain_weight?" if "retain_weight" in known else None)


@every_method
def test_it_does_not_know_devices_loaders_or_files(name: str) -> None:
    imported = {
        value.__name__
        for value in vars(importlib.import_module(f"expunge.methods.{name}")).values()
        if inspect.ismodule(value)
    }
    assert imported <= {"torch", "torch.nn.functional"}


@every_method
def test_one_step_trains_and_the_result_loads_in_plain_transformers(
    name: str, tiny_model_folder: Path, tmp_path: Path
) -> None:
    loaded = load_model(find_model(str(tiny_model_folder)))
    task = CausalLM(loaded.model, loaded.tokenizer)
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    forget = write_table(tmp_path / "forget", random_blocks([12, 9, 12, 10], seed=1))
    retain = write_table(tmp_path / "retain", random_blocks([11, 12, 8], seed=2))
    result = train(
        task,
        make_method({"name": name}),
        Training(max_steps=1, learning_rate=1e-3, warmup_ratio=0, per_device_train_batch_size=2),
        forget=forget,
        retain=retain,
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
    )
    assert result.steps == 1
    changed = [name for name, p in loaded.model.named_parameters() if not torch.equal(p, before[name])]
    assert len(changed) == len(before)
    save_model(loaded, tmp_path / "model", torch.float32)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = torch.tensor([tokenizer("Sherlock Holmes walked along Baker Street.")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, loaded.model(ids).logits)


@every_method
def test_it_asks_only_for_the_sets_that_it_declared(name: str, tiny_model_folder: Path) -> None:
    """With just the declared sets its loss can be made; with a declared one gone it says so."""
    loaded = load_model(find_model(str(tiny_model_folder)))
    task = CausalLM(loaded.model, loaded.tokenizer)
    method = make_method({"name": name})
    forget = make_batch(random_blocks([8])) if method.needs.forget else None
    retain = make_batch(random_blocks([7])) if method.draws_retain else None
    loss = method.loss(Step(task, forget, retain))
    assert (loss.forget is not None) == (forget is not None)
    assert (loss.retain is not None) == (retain is not None)
    assert torch.equal(loss.total, sum(part for part in (loss.forget, loss.retain) if part is not None))
    with pytest.raises(ValueError, match="did not declare"):
        method.loss(Step(task, None, None))


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="there is no method 'gradient_assent'") as caught:
        make_method({"name": "gradient_assent"})
    assert caught.value.next_step == "did you mean gradient_ascent?"
    assert caught.value.allowed == ", ".join(built_in())


def test_a_method_without_a_name() -> None:
    with pytest.raises(RecipeError, match="method has no name"):
        make_method({"alpha": 5.0})


def test_a_method_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, value = "other", "other_package:Other"

        def load(self) -> type[Method]:
            return method_class("fine_tune")

    monkeypatch.setattr(discovery, "entry_points", lambda group: [Point()] if group == "expunge.methods" else [])
    assert installed() == {"other": "other_package:Other"}
    assert isinstance(make_method({"name": "other"}), method_class("fine_tune"))


def test_a_method_must_define_its_loss() -> None:
    class Lazy(Method):
        pass

    with pytest.raises(TypeError, match="Lazy defines no loss"):
        Lazy().loss(Step(None, None, None))  # type: ignore[arg-type]


@pytest.mark.parametrize(("weight", "drawn"), [(0.0, False), (0.5, True)])
def test_a_retain_weight_of_zero_draws_no_retain_batches(weight: float, drawn: bool) -> None:
    for name in ("gradient_difference", "whos_harry_potter"):
        assert make_method({"name": name, "retain_weight": weight}).draws_retain is drawn
