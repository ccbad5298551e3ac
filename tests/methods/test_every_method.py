"""What every method must keep to; a new file in `expunge/methods` is tested by being there."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydantic
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.errors import RecipeError, nearest
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.saving import save_model
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.models.source import find_model, load_model
from expunge.runs import registry as discovery
from expunge.runs.method import Method
from expunge.runs.registry import built_in, installed, make_method, method_class
from expunge.train.step import Step
from known_sets import known_tables
from small_images import small_work, tiny_resnet
from tiny import ignore_log, load_task

LOSSES = [name for name in built_in() if method_class(name).has_loss()]
LANGUAGE = [name for name in built_in() if "causal_lm" in method_class(name).needs.kinds]
TEXT_ALONE = {"dpo", "rmu", "targeted_npo", "whos_harry_potter"}
TEXT_ALONE |= {"altpo", "idk_dpo", "idk_nll", "idk_ap", "flat", "undial", "ceu", "wga", "satimp", "me_gd"}
TEXT_ALONE |= {"adaptive_rmu", "circuit_breakers", "elm", "meow", "shred"}
TEXT_ALONE |= {"entropy_term", "gru", "lat", "sure", "tar"}
"losses that ask for what only text has (pairs, layers, words, answers), are around such a one, or known for text alone"
SHALLOW: dict[str, dict[str, Any]] = {
    **{name: {"layer": 2, "trained_layers": 1} for name in ("adaptive_rmu", "rmu")},
    "altpo": {"alternatives": 2, "alternative_tokens": 4},
    "circuit_breakers": {"layers": (1, 2)},
    "sure": {"percentile": 0},
}
"fields for a model of two layers, for few answers, and so that every weight changes"
every_method = pytest.mark.parametrize("name", built_in())
every_loss = pytest.mark.parametrize("name", LOSSES)
every_language_loss = pytest.mark.parametrize("name", [name for name in LANGUAGE if name in LOSSES])


def test_the_methods_that_come_with_it() -> None:
    assert [
        *["adaptive_rmu", "altpo", "ceu", "cir", "circuit_breakers", "dpo", "elm", "entropy_term"],
        *["fine_tune", "flat", "gradient_ascent", "gradient_difference", "gru", "idk_ap", "idk_dpo"],
        *["idk_nll", "jensun", "lat", "lunar", "me_gd", "meow", "mudman", "neggrad_plus", "npo", "npo_sam"],
        *["o3", "pdu", "repair", "repselect", "rmu", "sage", "satimp", "shred", "simnpo", "spunge", "steering", "sure"],
        *["tar", "targeted_npo", "task_vector_negation", "uld", "undial", "undo", "wga", "whos_harry_potter"],
    ] == LANGUAGE
    classics = {"retrain", "random_labels", "cf_k", "eu_k", "scrub", "scrub_r", "bad_teacher", "unsir", "ssd", "fisher"}
    classics |= {"influence", "l1_sparse", "salun", "boundary_shrink", "boundary_expand", "sfron", "amun"}
    winners = {"fanchuan", "kookmin", "seif", "sebastian", "toshi", "amnesiacs", "sun"}
    assert classics | winners <= set(built_in())
    assert installed() == {}


@every_method
def test_one_file_one_class_named_alike(name: str) -> None:
    kind = method_class(name)
    assert issubclass(kind, Method)
    assert kind.__module__ in (f"expunge.methods.{name}", f"expunge.methods.{name}.method")
    assert kind.__name__.lower() == name.replace("_", "")
    assert not any(each is not kind and issubclass(each, Method) and each.__module__ == kind.__module__
                   for each in vars(importlib.import_module(kind.__module__)).values()
                   if inspect.isclass(each))  # fmt: skip


@every_method
def test_it_is_a_loss_or_phases_and_a_loss_is_for_every_kind_of_model(name: str) -> None:
    kind = method_class(name)
    if kind.needs.kinds != ("sharded_classifier",):  # a way to train: the models' pipeline does it
        assert kind.has_loss() == (kind.apply is Method.apply)
    if kind.has_loss():
        assert ("image_classifier" in kind.needs.kinds) == (name not in TEXT_ALONE)
        assert "causal_lm" in kind.needs.kinds
    else:
        assert len(kind.needs.kinds) == 1


@every_method
def test_the_docstring_cites_its_source_and_holds_its_formula(name: str) -> None:
    kind = method_class(name)
    assert re.search(r"\b(19|20)\d\d\b", kind.citation()), "a year"
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|notebook|\(\w.+ (19|20)\d\d", kind.citation()), "a source"
    assert "\n" not in kind.citation()
    assert len(kind.formulas()) > 10
    assert kind.formulas().count("{") == kind.formulas().count("}")
    assert (inspect.getdoc(kind) or "").count("$$") == 2 * len(kind.formulas().split("\n\n"))


@every_method
def test_every_hyper_parameter_has_a_default_and_says_what_it_is(name: str) -> None:
    for field, info in method_class(name).model_fields.items():
        assert not info.is_required(), field
        assert info.default is not pydantic.fields.PydanticUndefined, field
        assert len(info.description or "") > 8, field


@every_method
def test_it_is_frozen(name: str) -> None:
    method = make_method({"name": name})
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        method.retain_weight = 3  # type: ignore[attr-defined]


@every_method
def test_an_unknown_hyper_parameter_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"method {name}: there is no field retain_wieght") as caught:
        make_method({"name": name, "retain_wieght": 1.0})
    known = nearest("retain_wieght", method_class(name).model_fields)
    assert caught.value.next_step == (f"did you mean {known}?" if known else None)


@every_method
def test_it_does_not_know_devices_loaders_or_files(name: str) -> None:
    imported = {
        value.__name__
        for value in vars(importlib.import_module(method_class(name).__module__)).values()
        if inspect.ismodule(value)
    }
    assert imported <= {"math", "copy", "torch", "torch.nn", "torch.nn.functional"}


@every_language_loss
def test_one_step_trains_and_the_result_loads_in_plain_transformers(
    name: str, tiny_model_folder: Path, tmp_path: Path
) -> None:
    loaded = load_model(find_model(str(tiny_model_folder)))
    task = CausalLM(loaded.model, loaded.tokenizer)
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    method = make_method({"name": name, **SHALLOW.get(name, {})})
    forget, retain = known_tables(method, task, tmp_path)
    work = LanguageWork(
        task=task,
        forget=forget,
        retain=retain,
        training=Training(max_steps=1, learning_rate=1e-3, warmup_ratio=0, per_device_train_batch_size=2),
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
    )
    work.carry_out(method)
    assert work.cost().steps == 1
    changed = {name for name, p in loaded.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if method.trains(name)}
    assert changed
    assert all(p.requires_grad for p in loaded.model.parameters())
    save_model(loaded, tmp_path / "model", torch.float32)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = torch.tensor([tokenizer("Sherlock Holmes walked along Baker Street.")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(again(ids).logits, loaded.model(ids).logits)


def language_step(method: Method, folder: Path, model: Path) -> Step:
    task = load_task(model)
    forget, retain = known_tables(method, task, folder)
    return Step(
        task,
        forget.batch([0, 1]) if method.needs.forget else None,
        retain.batch([0, 1]) if method.draws_retain else None,
    )


@every_language_loss
def test_a_step_in_parts_has_the_same_loss(name: str, tiny_model_folder: Path, tmp_path: Path) -> None:
    """Whatever the accumulation: what the parts of a step add up to is the loss of the whole."""
    method, task = make_method({"name": name, **SHALLOW.get(name, {})}), load_task(tiny_model_folder)
    forget, retain = known_tables(method, task, tmp_path)
    retain = retain.take([0, 1, 2, 0]) if len(retain) == 3 else retain

    def loss(rows: list[int], of: list[int]) -> float:
        given = []
        for table, drawn in ((forget, method.needs.forget), (retain, method.draws_retain)):
            totals = (table.labelled(of), len(of), int(table.lengths[of].sum()))
            given.append(table.batch(rows, *totals) if drawn else None)
        with torch.no_grad():
            return float(method.loss(Step(task, *given)).total)

    whole = [0, 1, 2, 3]
    parts = sum(loss(rows, whole) for rows in ([0, 2], [1], [3]))
    assert parts == pytest.approx(loss(whole, whole), rel=1e-4, abs=1e-5)


@every_language_loss
def test_a_term_whose_gradient_is_added_before_the_next_is_made_changes_nothing(
    name: str, tiny_model_folder: Path, tmp_path: Path
) -> None:
    method = make_method({"name": name, **SHALLOW.get(name, {})})
    step = language_step(method, tmp_path, tiny_model_folder)
    parameters = [each for each in step.task.model.parameters() if each.requires_grad]  # type: ignore[attr-defined]

    def gradients(given: Step) -> tuple[float, list[torch.Tensor]]:
        total = method.loss(given).total
        total.backward()
        found = [torch.zeros_like(each) if each.grad is None else each.grad.clone() for each in parameters]
        step.task.model.zero_grad(set_to_none=True)  # type: ignore[attr-defined]
        return float(total.detach()), found

    added: list[torch.Tensor] = []
    together = gradients(step)
    apart = gradients(replace(step, backward=lambda term: (added.append(term), term.backward())))
    assert apart[0] == together[0]
    for one, other in zip(apart[1], together[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6 * max(1.0, float(other.abs().max())))
    assert len(added) <= 1
    if type(method).loss.__qualname__.startswith(("NPO.", "RMU.", "GradientDifference.")):
        assert len(added) == 1


def image_step(method: Method) -> Step:
    work = small_work(tiny_resnet(), retain=12, forget=4)
    rows = torch.arange(4)
    nll, soft = torch.ones(4), torch.full((12, 4), 0.25)
    forget = work.task.batch(work.forget, rows, reference_nll=nll if "reference_nll" in method.signal_names else None)
    target = getattr(method, "retain_target", "text")
    retain = work.task.batch(work.retain, rows, soft_weights=soft if target == "base" else None)
    return Step(work.task, forget if method.needs.forget else None, retain if method.draws_retain else None)


@pytest.mark.parametrize("kind", ["causal_lm", "image_classifier"])
@every_loss
def test_it_asks_only_for_the_sets_that_it_declared(
    name: str, kind: str, tiny_model_folder: Path, tmp_path: Path
) -> None:
    """With just the declared sets its loss can be made; with a declared one gone it says so."""
    method = make_method({"name": name, **SHALLOW.get(name, {})})
    if kind not in method.needs.kinds:
        pytest.skip(f"not for a {kind}")
    step = language_step(method, tmp_path, tiny_model_folder) if kind == "causal_lm" else image_step(method)
    loss = method.loss(step)
    assert (loss.forget is not None) == (step.forget is not None)
    assert (loss.retain is not None) == (step.retain is not None)
    assert torch.equal(loss.total, sum(part for part in (loss.forget, loss.retain) if part is not None))
    assert loss.total.isfinite()
    with pytest.raises(ValueError, match="did not declare"):
        method.loss(Step(step.task, None, None))


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="there is no method 'gradient_assent'") as caught:
        make_method({"name": "gradient_assent"})
    assert caught.value.next_step == "did you mean gradient_ascent? expunge methods lists all"
    assert caught.value.allowed is None  # of so many names the near ones are enough
    with pytest.raises(RecipeError) as caught:
        make_method({"name": "lobotomy"})
    assert caught.value.next_step == "expunge methods lists all"


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("salun", "causal_lm", "the method salun does not work on language models"),
        ("sisa", "causal_lm", "the method sisa does not work on language models"),
        ("encoder_scrubbing", "causal_lm", "the method encoder_scrubbing does not work on language models"),
        ("rmu", "image_classifier", "the method rmu does not work on image classifiers"),
        ("scrub", "image_to_image", "the method scrub does not work on image-to-image generators"),
    ],
)
def test_a_method_of_another_kind_is_refused(name: str, kind: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_method({"name": name}, kind)
    assert caught.value.what == words
    assert str(caught.value.seen).startswith(f"{name} works on ")
    assert str(caught.value.next_step).endswith("expunge methods lists what each works on")


def test_for_an_unknown_method_those_of_its_kind_are_proposed() -> None:
    with pytest.raises(RecipeError, match="there is no method 'kokmin'") as caught:
        make_method({"name": "kokmin"}, "causal_lm")
    assert "kookmin" not in str(caught.value.next_step)
    with pytest.raises(RecipeError) as caught:
        make_method({"name": "kokmin"}, "image_classifier")
    assert str(caught.value.next_step).startswith("did you mean kookmin?")


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
