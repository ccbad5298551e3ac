"""Plans of whole runs: devices, options that fit, the check at the head of a run, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from small_plan import config, parameters

from expunge import api
from expunge.core.memory import machine_memory
from expunge.core.progress import Silent
from expunge.errors import ModelError, RecipeError, RunError
from expunge.kinds.language.plan import check
from expunge.kinds.language.plan.announced import amounts_by_size, published, with_quick_speed
from expunge.kinds.language.plan.check import check_memory, planned_for
from expunge.kinds.language.plan.devices import DEVICES, Device, find_device
from expunge.kinds.language.plan.model import planned_model
from expunge.kinds.language.plan.options import cheaper
from expunge.kinds.language.plan.plan import make_plan
from expunge.kinds.language.plan.tried import Maker
from expunge.kinds.language.plan.words import scientific
from expunge.kinds.language.recipe import Recipe, make_recipe
from expunge.models.source import find_model
from expunge.models.tokenizers import read_tokenizer
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.registry import make_method
from said import Type

LAYERS = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, without weights and without a tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    config(LAYERS, architectures=["LlamaForCausalLM"], dtype="bfloat16").save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Recipe:
    (tmp_path / "book.txt").write_text("It was a dark and stormy night. " * 800)
    fields = {"model": str(model), "forget": str(tmp_path / "book.txt"), "data.block_size": 256}
    return make_recipe({}, {**fields, "method.name": "gradient_difference", "data.retain_answers": 16})


def device(mebibytes: float, **more: Any) -> Device:
    size = int(mebibytes * 2**20)
    return Device(name="small", memory=size, usable=size, bf16=False, **more)


def test_a_run_is_planned_from_the_configuration_alone(recipe: Recipe) -> None:
    plan = make_plan(recipe, device(1000, rate=1e12, bandwidth=1e12))
    assert (plan.fits, plan.weights, plan.trained) == ({}, parameters(LAYERS), parameters(LAYERS))
    # 800 sentences of 32 characters, 4 a token, in blocks of 256: 25 blocks, 7 batches of 4, two epochs.
    assert plan.steps == 14
    names = [stage.name for stage in plan.stages]
    assert names.index("measuring the base model") < names.index("unlearning") < names.index("saving")
    assert plan.disk["checkpoints, two for a moment"] == 2 * 12 * parameters(LAYERS)
    assert plan.disk["model as bfloat16"] == 2 * parameters(LAYERS)
    seconds = [stage.seconds(plan.device) for stage in plan.stages]
    assert plan.seconds == pytest.approx(sum(each or 0 for each in seconds))
    unlearning = plan.stages[names.index("unlearning")]
    assert unlearning.seconds(plan.device) == pytest.approx(unlearning.flops / 0.4e12)


def test_the_first_options_that_fit_are_those_that_change_least(recipe: Recipe) -> None:
    whole = make_plan(recipe, device(1000)).peak / 2**20
    tight = make_plan(recipe, device(whole * 0.9))
    assert tight.fits == {"training.gradient_checkpointing": True}
    assert tight.fitting < tight.peak
    none = make_plan(recipe, device(0.5))
    assert none.fits is None
    assert none.fitting < none.peak


def test_options_that_are_said_to_fit_do_fit(recipe: Recipe) -> None:
    small = device(make_plan(recipe, device(1000)).peak * 0.5 / 2**20)
    said = make_plan(recipe, small)
    assert said.fits
    plan = make_plan(make_recipe(recipe.model_dump(), said.fits), small)
    assert (plan.fits, plan.peak) == ({}, said.fitting)


def test_weights_in_bfloat16_are_tried_before_an_adapter_where_they_are_stored_so(recipe: Recipe) -> None:
    narrow = {"training.weight_dtype": "bfloat16", "training.optim": "adamw_bnb_8bit"}

    def unlearning(**fields: Any) -> float:
        plan = make_plan(make_recipe(recipe.model_dump(), fields), device(1000))
        return next(each.peak for each in plan.stages if each.name == "unlearning") / 2**20

    checkpointing = {"training.gradient_checkpointing": True}
    room = device((unlearning(**narrow, **checkpointing) + unlearning(**checkpointing)) / 2)
    assert list(cheaper(recipe, True))[6] == narrow
    assert all("training.weight_dtype" not in each for each in cheaper(recipe, False))
    said = make_plan(recipe, room)
    assert said.fits is not None
    given = make_recipe(recipe.model_dump(), {"training.weight_dtype": "bfloat16"})
    for fields in cheaper(given, True):
        make_recipe(given.model_dump(), fields)  # an adapter is suggested without it


@pytest.mark.parametrize("fsdp", [None, "shard"])
def test_options_are_passed_over_by_what_they_take_at_least(recipe: Recipe, fsdp: Literal["shard"] | None) -> None:
    cards = device(1000, count=1 if fsdp is None else 2, fsdp=fsdp)
    maker = Maker(recipe, planned_model(str(recipe.model)), make_method(recipe.method, "causal_lm"), cards)
    given = maker.made({})
    eight, narrow = {"training.optim": "adamw_bnb_8bit"}, {"training.weight_dtype": "bfloat16"}
    # bytes of a weight, its gradient and two moments
    found = [({}, 4 + 4 + 8), ({"training.gradient_checkpointing": True}, 4 + 4 + 8)]
    found += [(eight, 4 + 4 + 2), (eight | narrow, 2 + 2 + 2)] if fsdp is None else []
    for fields, each in found:
        assert maker._least(given, fields) == parameters(LAYERS) * each // cards.count <= maker.made(fields).peak
    assert maker._least(given, {"training.adapter_rank": 4}) == 0


def test_cards_share_the_work_and_each_holds_the_model(recipe: Recipe) -> None:
    alone, shared = make_plan(recipe, device(1000, rate=1e12)), make_plan(recipe, device(1000, rate=1e12, count=7))
    assert (alone.steps, shared.steps) == (14, 2)
    assert shared.peak >= alone.peak
    assert (shared.seconds or 0) < (alone.seconds or 0)


def test_weights_that_are_spread_take_their_part_on_each_card(recipe: Recipe) -> None:
    def unlearning(**more: Any) -> int:
        return next(each.peak for each in make_plan(recipe, device(1000, **more)).stages if each.name == "unlearning")

    two, eight = unlearning(count=2, fsdp="shard"), unlearning(count=8, fsdp="shard")
    assert eight < two < unlearning(count=2)
    # From weights, gradients and two moments a half, and an eighth.
    part = 16 * parameters(LAYERS)
    assert two - eight == pytest.approx(part // 2 - part // 8, abs=200)  # and the rotary embedding's constants
    assert unlearning(count=8, fsdp="offload") == pytest.approx(eight - part // 8, abs=200)
    with pytest.raises(RecipeError, match="over several cards"):
        find_device("l4", fsdp="shard")
    assert find_device(None, "4x80", fsdp="shard").fsdp == "shard"


def test_speed_that_is_not_known_is_not_guessed(recipe: Recipe) -> None:
    assert make_plan(recipe, find_device(None, "8x24")).seconds is None
    assert make_plan(recipe, find_device(None, "8x24", 1e12)).seconds is not None


def test_phases_of_their_own_are_said_to_be_estimated(recipe: Recipe) -> None:
    plan = make_plan(recipe.model_copy(update={"method": {"name": "task_vector_negation"}}), device(1000))
    assert any("phases of its own" in note for note in plan.notes)


def test_devices_by_name() -> None:
    assert find_device("A100 80GB").memory == 80_000_000_000
    assert all(each.usable < each.memory and each.source for each in DEVICES.values())
    with pytest.raises(RecipeError, match="did you mean h100-80gb"):
        find_device("h100-80g")
    with pytest.raises(RecipeError, match="--gpus 8x24"):
        find_device(None, "8 of 24")
    with pytest.raises(RecipeError, match="give one of them"):
        find_device("l4", "8x24")
    cards = find_device(None, "8x24")
    assert (cards.count, cards.memory, cards.speed) == (8, 24_000_000_000, None)
    total, free = machine_memory()
    assert free is None or 0 < free <= total


@pytest.fixture
def checked(recipe: Recipe, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe of a model with weights, of a size that is planned."""
    monkeypatch.setattr(check, "SMALLEST", 0)
    return recipe.model_copy(update={"model": str(tiny_model_folder)})


def pretend(monkeypatch: pytest.MonkeyPatch, size: int, free: int) -> None:
    monkeypatch.setattr(check, "this_machine", lambda: replace(device(1), memory=size, free=free, main_memory=True))


def test_a_run_that_does_not_fit_is_refused_with_the_option_that_fits(
    checked: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_model(checked.model)
    pretend(monkeypatch, 1 << 40, 1 << 40)
    planned = check_memory(checked, source)
    assert planned is not None
    assert planned.most is not None
    pretend(monkeypatch, planned.most.peak - 1, 0)
    with pytest.raises(RunError, match="does not fit into memory") as refused:
        check_memory(checked, source)
    assert "--training.gradient_checkpointing true" in str(refused.value)
    pretend(monkeypatch, 1 << 10, 0)
    with pytest.raises(RunError, match="give a smaller model"):
        check_memory(checked, source)


def test_memory_that_is_taken_now_is_said_and_no_error(
    checked: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Said(Silent):
        lines: list[str] = []

        def say(self, text: str) -> None:
            self.lines.append(text)

    pretend(monkeypatch, 1 << 40, 1 << 20)
    planned = check_memory(checked, find_model(checked.model))
    assert planned is not None
    folder = RunFolder(tmp_path / "run")
    folder.create()
    planned.announce(Run(checked, folder, Said()))
    assert Said.lines[0].startswith("memory: ")
    assert Said.lines[1].startswith("work: ")
    assert "more than is free now" in Said.lines[2]
    (event,) = folder.read_events("plan")
    assert event["peak_bytes"] == planned.most.peak if planned.most else None
    assert planned_for(folder)["planned"]["disk_bytes"] == event["disk_bytes"]


def test_work_announced_at_the_head_of_a_run_is_that_of_its_plan(
    checked: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = find_model(checked.model)
    monkeypatch.setattr(check, "this_machine", lambda: device(1 << 20, rate=1e12, bandwidth=1e12))
    tokenizer = read_tokenizer(source.folder, source.name)
    planned = check_memory(checked, source, lambda: tokenizer)
    assert planned is not None
    assert planned.work is not None
    row = planned.work.row()
    plan = make_plan(checked, device(1 << 20, rate=1e12, bandwidth=1e12))
    assert [each["stage"] for each in row["stages"]] == [each.name for each in plan.stages]
    for name, whole in (
        ("tokens", sum(each.tokens for each in plan.stages)),
        ("flops", sum(each.flops for each in plan.stages)),
        ("disk_bytes", sum(plan.disk.values())),
        ("run_seconds", plan.seconds),
    ):
        assert row[name] == pytest.approx(whole, rel=0.05, abs=0.1), name
    assert scientific(row["flops"]) in planned.work.words()


def test_long_files_are_estimated_by_their_size(recipe: Recipe, model: Path, tmp_path: Path) -> None:
    planned = planned_model(str(model))
    (tmp_path / "book.txt").write_text("It was a dark and stormy night. " * 800)
    amount, _ = amounts_by_size(recipe, planned)
    assert (amount.tokens, amount.blocks) == (6400, 25)
    (tmp_path / "book.txt").write_text("It was a dark and stormy night. " * 40_000)
    amount, _ = amounts_by_size(recipe, planned)
    assert (amount.tokens, amount.blocks) == (320_000, 1250)
    assert "1,280,000 bytes" in amount.how


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("Tesla T4", "t4"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA A10G", None),
    ],
)
def test_the_speed_of_a_known_gpu_is_the_published_one(name: str, key: str | None) -> None:
    known, there = published(name), device(1)
    assert known == (None if key is None else DEVICES[key])
    found = with_quick_speed(replace(there, name=name), True)
    assert found.speed == (None if known is None else known.speed)
    assert found.memory == there.memory


def test_the_speed_of_a_processor_is_measured_at_once() -> None:
    found = with_quick_speed(replace(device(1), name="this machine (cpu)", main_memory=True), False)
    assert found.speed
    assert found.speed > 1e8
    assert "measured" in found.source


def test_small_models_are_not_planned(recipe: Recipe, tiny_model_folder: Path) -> None:
    assert check_memory(recipe, find_model(str(tiny_model_folder))) is None


def test_the_command(recipe: Recipe, tmp_path: Path, typed: Type) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    code, out, err = typed("plan", "recipe.yaml", "--device", "l4", "--json")
    assert code == 0
    row = json.loads(out + err)
    assert row["fits"]
    assert row["peak_bytes"] == max(stage["peak_bytes"] for stage in row["stages"])
    code, out, err = typed("plan", "recipe.yaml", "--gpus", "1x0.004")
    assert code == 3
    assert "it does not fit" in out + err
    assert "--training." in out + err
    code, out, err = typed("plan", "recipe.yaml", "--device", "l44")
    assert (code, "did you mean l4" in out + err) == (2, True)


def test_a_model_of_the_hub_that_cannot_be_had_is_told_with_what_to_do() -> None:
    """The tests are offline, as who plans on a machine without a network is."""
    with pytest.raises(
        ModelError, match="there is no model nobody/has-this: no such folder, and nothing found"
    ) as told:
        planned_model("nobody/has-this")
    assert "OFFLINE" in str(told.value.seen)
    assert "a folder with its config.json; docs/scale.md has the plans" in (told.value.next_step or "")


def test_other_kinds_of_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="recipes for language models"):
        api.plan("age_predictor", ["--data", str(tmp_path)], device="l4")


def test_the_audit_is_planned_attack_by_attack(tiny_model_folder: Path, recipe: Recipe) -> None:
    """By hand: 100 passages of 64 tokens, of the model and of the control."""
    plan = make_plan(recipe, device(1000, rate=1e12))
    assert plan.audit == [], "without a tokenizer there are no facts"
    own = recipe.model_copy(update={"model": str(tiny_model_folder)})
    plan = make_plan(own, device(1000, rate=1e12))
    each = {stage.name: stage for stage in plan.audit}
    assert not {"relearn", "quantize"} & {stage.name for stage in plan.stages}
    facts = own.audit.facts
    assert each["lens"].tokens == 2 * 2 * 64 * facts
    assert each["what is known, and damage"].tokens == 4 * 64 * facts + 2 * 2 * 48 * 64 + 2 * 10 * 32
    training = 2 * own.audit.relearning_steps * 2 * 64  # two ways, two rows a step
    asked = 6 * 32 * 64 * (facts / 64)  # six looks at half of the facts
    assert each["relearn"].tokens == round(2 * (training + asked))
    assert "membership" not in each, "it needs a holdout"
    assert each["relearn"].peak > each["lens"].peak
    assert plan.audit_seconds == pytest.approx(sum(stage.seconds(plan.device) or 0 for stage in plan.audit))
    row = plan.row()
    assert [stage["stage"] for stage in row["audit"]] == list(each)
    assert row["seconds"] == plan.seconds, "no part of the run"
