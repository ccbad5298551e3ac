"""Training a language model: how many steps, at which rate, and the same weights however they are reached."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from expunge.core.order import Order
from expunge.errors import DivergedError, RecipeError
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.training import UNLEARNING, phase_of, plan_steps, stream_of
from expunge.runs.method import Method, Needs
from expunge.runs.registry import make_method
from expunge.train.checkpoint import Saved, checkpoints, load_latest
from expunge.train.loop import Trained
from expunge.train.step import Loss, Step
from tiny import ignore_log, load_task, random_blocks, write_table

ALWAYS = 1e-9
"seconds between checkpoints where one is wanted after every step"


@pytest.mark.parametrize(
    ("batches", "settings", "steps"),
    [
        (10, {"num_train_epochs": 2}, 20),
        (10, {"num_train_epochs": 2, "gradient_accumulation_steps": 4}, 5),
        (7, {"num_train_epochs": 1, "gradient_accumulation_steps": 2}, 4),
        (10, {"num_train_epochs": 0.5}, 5),
        (10, {"num_train_epochs": 2, "max_steps": 3}, 3),
        (10, {"num_train_epochs": 2, "max_steps": 300}, 20),
        (10, {"num_train_epochs": 0.01}, 1),
    ],
)
def test_plan_steps(batches: int, settings: dict[str, Any], steps: int) -> None:
    assert plan_steps(Training(**settings), batches, 1) == steps


def rates_of(training: Training, steps: int) -> list[float]:
    phase = phase_of(training.model_copy(update={"max_steps": steps, "num_train_epochs": steps}), 1)
    assert phase.steps == steps
    return [phase.rate(step, steps) for step in range(steps)]


def test_learning_rate_rises_over_the_warm_up_and_falls_to_a_tenth() -> None:
    training = Training(learning_rate=1.0, warmup_ratio=0.1)
    rates = rates_of(training, 20)
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[11] == pytest.approx(0.55)  # half way down
    assert rates[19] == pytest.approx(1 - 0.9 * 17 / 18)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates_of(training, 1) == [1.0]
    assert rates_of(Training(learning_rate=2.0, warmup_ratio=0), 5)[0] == 2.0
    assert rates_of(Training(learning_rate=1.0, warmup_ratio=1), 5)[4] == 1.0


@given(st.floats(1e-7, 1e-1), st.integers(1, 400), st.floats(0, 1))
def test_the_rate_is_what_it_always_was_to_the_bit(highest: float, steps: int, warmup: float) -> None:
    """Weights of runs made before the phases of all kinds of model were one would not be reached again otherwise."""
    rising = math.ceil(warmup * steps)
    expected = [
        highest * (step + 1) / rising
        if step < rising
        else highest * (1 - 0.9 * ((step - rising) / max(1, steps - rising)))
        for step in range(steps)
    ]
    assert rates_of(Training(learning_rate=highest, warmup_ratio=warmup), steps) == expected


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenTable, TokenTable]:
    """Eight blocks each, of lengths so different that micro-batches hold unlike numbers of labels."""
    folder = tmp_path_factory.mktemp("tables")
    forget = write_table(folder / "forget", random_blocks([4, 30, 9, 21, 6, 17, 12, 25], seed=1))
    retain = write_table(folder / "retain", random_blocks([18, 5, 28, 11, 24, 8, 14, 32], seed=2))
    return forget, retain


def run(
    task: CausalLM,
    tables: tuple[TokenTable, TokenTable | None],
    folder: Path,
    method: Method | None = None,
    log: Callable[..., None] = ignore_log,
    progress: Callable[[int, int, dict[str, Any]], None] | None = None,
    probe: Callable[[int], None] | None = None,
    ends: bool = False,
    **settings: Any,
) -> Trained:
    training = Training(**{"learning_rate": 1e-3, "probe_steps": 1, "max_retain_increase": 5.0} | settings)
    work = LanguageWork(
        task=task,
        forget=tables[0],
        retain=tables[1],
        training=training,
        seed=3,
        checkpoints=folder,
        log=log,
        on_progress=progress,
        probe=probe,
        ends=ends,
    )
    work.carry_out(method or make_method({"name": "gradient_difference"}))
    return work.trained[-1]


def latest(folder: Path, at_most: int | None = None) -> Saved | None:
    return load_latest(folder / UNLEARNING, at_most)


def weights(task: CausalLM) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in task.model.named_parameters()}


def test_accumulating_gradients_changes_nothing(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    found, losses = [], []
    for size, accumulate in ((8, 1), (4, 2), (2, 4)):
        task = load_task(tiny_model_folder)
        start = weights(task)
        logged: list[dict[str, Any]] = []
        run(
            task,
            tables,
            tmp_path / str(size),
            log=lambda event, logged=logged, **values: logged.append(values),
            num_train_epochs=4,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulate,
        )
        found.append(weights(task))
        losses.append([(row["loss"], row["forget_truth"], row["retain_truth"]) for row in logged])
        assert len(logged) == 4
    moved = max((found[0][name] - start[name]).abs().max().item() for name in start)
    assert moved > 1e-3
    for other in found[1:]:
        assert max((found[0][name] - other[name]).abs().max().item() for name in other) <= 1e-6
    for other_losses in losses[1:]:
        for step, expected in zip(other_losses, losses[0], strict=True):
            assert step == pytest.approx(expected, rel=1e-5, abs=1e-5)


class CrashError(Exception):
    """Stands for whatever ends a process."""


def stop_at(wanted: int) -> Callable[[int, int, dict[str, Any]], None]:
    def progress(step: int, steps: int, figures: dict[str, Any]) -> None:
        if step == wanted:
            raise CrashError

    return progress


def dropping_gpt2() -> CausalLM:
    """A model that draws random numbers in training: dropout everywhere."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=200, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    return CausalLM(GPT2LMHeadModel(config).eval(), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["llama", "dropout"])
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(
    kind: str, tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    settings = {
        "max_steps": 6,
        "num_train_epochs": 9,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "weight_decay": 0.01,
        "save_seconds": ALWAYS,
    }

    def fresh() -> CausalLM:
        return load_task(tiny_model_folder) if kind == "llama" else dropping_gpt2()

    def recorder(rows: dict[int, float]) -> Callable[..., None]:
        return lambda event, **values: rows.update({values["step"]: values["loss"]}) if event == "step" else None

    whole, losses = fresh(), {}
    run(whole, tables, tmp_path / "whole", log=recorder(losses), **settings)
    expected = weights(whole)
    assert len(set(losses.values())) == 6
    for at in (1, 3, 5):
        folder = tmp_path / f"stopped-{at}"
        again: dict[int, float] = {}
        with pytest.raises(CrashError):
            run(fresh(), tables, folder, progress=stop_at(at), log=recorder(again), **settings)
        torch.manual_seed(1234)  # another process has other random numbers behind it
        resumed: list[int] = []
        task = fresh()
        result = run(
            task,
            tables,
            folder,
            log=lambda event, resumed=resumed, again=again, **v: (
                resumed.append(v["step"]) if event == "resumed" else again.update({v["step"]: v["loss"]})
            ),
            **settings,
        )
        assert resumed == ([] if at == 1 else [at - 1])
        assert result.steps == 6
        assert again == losses
        found = weights(task)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_interrupted_twice(tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path) -> None:
    settings = {"max_steps": 5, "num_train_epochs": 9, "save_seconds": ALWAYS}
    whole, task = load_task(tiny_model_folder), load_task(tiny_model_folder)
    expected = run(whole, tables, tmp_path / "whole", **settings)
    for at in (2, 4):
        with pytest.raises(CrashError):
            run(load_task(tiny_model_folder), tables, tmp_path / "stopped", progress=stop_at(at), **settings)
    result = run(task, tables, tmp_path / "stopped", **settings)
    assert result.seen == expected.seen
    assert all(torch.equal(a, b) for a, b in zip(weights(task).values(), weights(whole).values(), strict=True))


def test_a_checkpoint_is_written_by_the_clock_and_only_where_the_guard_looked(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    settings = {"max_steps": 5, "num_train_epochs": 9}
    run(load_task(tiny_model_folder), tables, tmp_path / "seldom", save_seconds=1000.0, **settings)
    assert checkpoints(tmp_path / "seldom" / UNLEARNING) == []
    run(load_task(tiny_model_folder), tables, tmp_path / "often", save_seconds=ALWAYS, probe_steps=3, **settings)
    assert [path.name for path in checkpoints(tmp_path / "often" / UNLEARNING)] == ["step-00000003"]


def test_probes_are_asked_before_the_first_step_and_at_the_last(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    task = load_task(tiny_model_folder)
    probed: list[tuple[int, bool]] = []
    run(
        task,
        tables,
        tmp_path,
        probe=lambda task, step: probed.append((step, task.model.training)),
        max_steps=5,
        num_train_epochs=9,
        probe_steps=2,
    )
    assert probed == [(0, False), (2, False), (4, False), (5, False)]
    assert not task.model.training


class Poisoned(Method):
    """A loss that is not a number from its third call on."""

    needs: ClassVar[Needs] = Needs()
    calls: ClassVar[int] = 0

    def loss(self, step: Step) -> Loss:
        Poisoned.calls += 1
        loss = step.nll(step.forget)
        return Loss(forget=loss * float("nan") if Poisoned.calls >= 3 else loss)


def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    Poisoned.calls = 0
    task = load_task(tiny_model_folder)
    with pytest.raises(DivergedError, match="stopped at step 3: the loss or its gradient is not a number") as caught:
        run(task, tables, tmp_path, Poisoned(), max_steps=6, num_train_epochs=9, save_seconds=ALWAYS)
    assert "training.learning_rate" in str(caught.value)
    assert "another --out" in str(caught.value)
    assert "--training.stop_step" not in str(caught.value)  # not the user's to give in this training
    saved = latest(tmp_path)
    assert saved is not None
    assert saved.step == 2
    for name, value in weights(task).items():
        assert torch.equal(value, saved.tensors[f"model/{name}"]), name


def test_a_runaway_retain_loss_stops_and_keeps_the_last_good_checkpoint(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    settings = {"learning_rate": 3e-3, "max_steps": 40, "num_train_epochs": 99, "max_retain_increase": 0.2}
    ascent = make_method({"name": "gradient_ascent"})
    with pytest.raises(DivergedError, match="the retain loss ran away") as caught:
        run(load_task(tiny_model_folder), tables, tmp_path, ascent, save_seconds=ALWAYS, ends=True, **settings)
    stopped = int(caught.value.what.split("step ")[1].split(":")[0])
    assert stopped > 1
    saved = latest(tmp_path)
    assert saved is not None
    assert saved.step == stopped - 1
    advice = f"the same command with --training.stop_step {stopped - 1}: it resumes from its checkpoint {stopped - 1}"
    assert advice in str(caught.value)
    with pytest.raises(DivergedError) as again:  # from that checkpoint: it stops there too, and says the same
        run(load_task(tiny_model_folder), tables, tmp_path, ascent, save_seconds=60.0, ends=True, **settings)
    assert str(again.value) == str(caught.value)
    assert "0.2 (training.max_retain_increase)" in str(caught.value)

    # As advised: it ends with the weights of the checkpoint, which are those of a run with this option from the start.
    ended, whole = load_task(tiny_model_folder), load_task(tiny_model_folder)
    result = run(ended, tables, tmp_path, ascent, stop_step=stopped - 1, **settings)
    run(whole, tables, tmp_path / "whole", ascent, stop_step=stopped - 1, **settings)
    assert (result.steps, result.stopped) == (stopped - 1, f"step {stopped - 1} of 40 (training.stop_step)")
    for name, value in weights(ended).items():
        assert torch.equal(value, saved.tensors[f"model/{name}"]), name
        assert torch.equal(value, weights(whole)[name]), name


def test_where_there_is_no_checkpoint_yet_none_is_spoken_of(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    settings = {"learning_rate": 3e-3, "max_steps": 40, "num_train_epochs": 99, "max_retain_increase": 0.2}
    ascent = make_method({"name": "gradient_ascent"})
    with pytest.raises(DivergedError, match="the retain loss ran away") as caught:
        run(load_task(tiny_model_folder), tables, tmp_path, ascent, save_seconds=600.0, ends=True, **settings)
    assert latest(tmp_path) is None
    assert "a lower --training.learning_rate than 0.003" in str(caught.value)
    assert "reinforce" not in str(caught.value)
    assert "resumes from the start, as no checkpoint was written yet" in str(caught.value)


def test_a_checkpoint_beyond_the_step_to_end_at_is_not_taken_up(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    settings = {"max_steps": 6, "num_train_epochs": 9, "save_seconds": ALWAYS}
    with pytest.raises(CrashError):
        run(load_task(tiny_model_folder), tables, tmp_path / "a", progress=stop_at(5), **settings)
    assert latest(tmp_path / "a", 4) is not None
    assert latest(tmp_path / "a", 3) is None
    again, whole = load_task(tiny_model_folder), load_task(tiny_model_folder)
    run(again, tables, tmp_path / "a", stop_step=3, **settings)
    run(whole, tables, tmp_path / "b", stop_step=3, **settings)
    assert all(torch.equal(a, b) for a, b in zip(weights(again).values(), weights(whole).values(), strict=True))


def test_the_guard_watches_a_retain_set_that_the_method_never_draws(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    logged: list[dict[str, Any]] = []
    run(
        load_task(tiny_model_folder),
        tables,
        tmp_path,
        make_method({"name": "gradient_ascent"}),
        log=lambda event, **values: logged.append(values),
        max_steps=1,
        max_retain_increase=50.0,
    )
    assert logged[0]["retain_truth"] is None
    assert logged[0]["retain_loss"] is None
    assert logged[0]["forget_loss"] == pytest.approx(-logged[0]["forget_truth"], rel=1e-5)


def test_a_forget_loss_that_is_high_enough_stops(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    logged: list[dict[str, Any]] = []
    task = load_task(tiny_model_folder)
    result = run(
        task,
        tables,
        tmp_path,
        make_method({"name": "gradient_ascent"}),
        log=lambda event, **values: logged.append(values),
        max_steps=60,
        num_train_epochs=99,
        max_retain_increase=50.0,
        stop_forget_loss=8.0,
        learning_rate=1e-2,
    )
    assert 1 < result.steps < 60
    assert "training.stop_forget_loss 8.0" in result.stopped
    running = logged[0]["forget_truth"]
    for row in logged[1:-1]:
        assert running < 8.0
        running = 0.6 * running + 0.4 * row["forget_truth"]
    assert running < 8.0 <= 0.6 * running + 0.4 * logged[-1]["forget_truth"]


def test_what_a_run_says_of_itself(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    logged: list[tuple[str, dict[str, Any]]] = []
    result = run(
        load_task(tiny_model_folder),
        tables,
        tmp_path,
        make_method({"name": "gradient_difference", "forget_weight": 0.5, "retain_weight": 2.0}),
        log=lambda event, **values: logged.append((event, values)),
        num_train_epochs=1,
        per_device_train_batch_size=8,
    )
    assert result.stopped == "all steps done"
    ((event, row),) = logged
    assert (event, row["step"]) == ("step", 1)
    assert result.seen == sum(table.tokens for table in tables)
    assert row["forget_loss"] == pytest.approx(-0.5 * row["forget_truth"], rel=1e-5)
    assert row["retain_loss"] == pytest.approx(2 * row["retain_truth"], rel=1e-5)
    assert row["loss"] == pytest.approx(row["forget_loss"] + row["retain_loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["fine_tune", "gradient_difference"])
def test_a_missing_retain_set_is_an_error_that_a_user_can_read(
    name: str, tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="needs a set that is missing"):
        run(load_task(tiny_model_folder), (tables[0], None), tmp_path, make_method({"name": name}), max_steps=1)


def test_only_weights_that_are_trainable_move(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path
) -> None:
    task = load_task(tiny_model_folder)
    before = weights(task)
    for name, parameter in task.model.named_parameters():
        parameter.requires_grad_("layers.1" in name)
    run(task, tables, tmp_path, max_steps=2)
    for name, value in weights(task).items():
        assert torch.equal(value, before[name]) == ("layers.1" not in name), name


class Elsewhere:
    """A task on another device, of which a loss sees no more than where its batches lie."""

    device = torch.device("meta")


class SeesDevices(Method):
    """Where everything lies that a method may ask of a batch."""

    needs: ClassVar[Needs] = Needs(retain="always")
    signals = ("reference_nll",)
    seen: ClassVar[set[str]] = set()

    def loss(self, step: Step) -> Loss:
        self.seen.update(v.device.type for v in (step.reference_nll(step.forget), step.forget.ids, step.retain.labels))
        return Loss(forget=torch.zeros((), requires_grad=True))


def test_batches_lie_where_the_model_does(tables: tuple[TokenTable, TokenTable]) -> None:
    forget, retain = tables

    task: Any = Elsewhere()
    drawn = [
        next(stream_of(task, table, Order(table.lengths, 4, 0, name)).batches([0], [0]))[0]
        for name, table in (
            ("forget", forget.with_signal("reference_nll", lambda rows: torch.zeros(len(rows)))),
            ("retain", retain),
        )
    ]
    SeesDevices().loss(Step(task, *drawn))
    assert SeesDevices.seen == {"meta"}


def test_more_processes_than_blocks(
    tiny_model_folder: Path, tables: tuple[TokenTable, TokenTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expunge.kinds.language.training.world", lambda: 3)
    few = write_table(tmp_path / "few", random_blocks([9, 12]))
    work = LanguageWork(
        task=load_task(tiny_model_folder),
        forget=few,
        retain=tables[1],
        training=Training(bf16=False),
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
    )
    with pytest.raises(RecipeError, match="more processes than blocks of the forget set") as refused:
        work.carry_out(make_method({"name": "gradient_difference"}))
    assert "3 processes, 2 blocks" in str(refused.value)
    assert "start at most 2 processes" in str(refused.value)
