"""PDU: its loss by the formula, how its dual variable moves, and that a killed training ends with the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from expunge.errors import RecipeError
from expunge.kinds.language.dual import DualVariable, Lagrangian, mean_nll
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.methods.pdu import PDU
from expunge.train.callback import Report
from expunge.train.step import IGNORED
from tiny import ignore_log, load_task, make_batch, random_blocks, write_table
from transcription import FORGET, RETAIN, check_gradient, loss_of, small_gpt2
from transcription import mean_nll as nll_of

TRAINING = Training(max_steps=4, learning_rate=1e-3, per_device_train_batch_size=2, num_train_epochs=9)


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


def test_the_loss_is_the_formulas() -> None:
    """mean (max z - mean z)^2 of the raw logits + lambda NLL of the retain set; by finite differences."""
    task = small_gpt2()
    margins = []
    for row, length in enumerate(FORGET.lengths.tolist()):
        with torch.no_grad():
            logits = task.model(FORGET.ids[row : row + 1, :length]).logits[0].numpy()
        margins += [
            logits[t - 1].max() - logits[t - 1].mean() for t in range(1, length) if FORGET.labels[row, t] != IGNORED
        ]
    method = Lagrangian(dual=DualVariable(2.5, 1.0, 1.0, 0.0))
    expected = np.square(margins).mean() + 2.5 * nll_of(task, RETAIN)
    assert loss_of(task, method) == pytest.approx(expected, rel=1e-10)
    check_gradient(task, method, FORGET)


def test_the_dual_variable_follows_the_retain_loss() -> None:
    """max(0, lambda + eta (loss - epsilon)) behind the warm-up, and on from what a checkpoint holds."""
    dual = DualVariable(1.0, limit=2.0, rate=0.5, warmup=0.25)
    values = []
    for step, loss in enumerate([9.0, 9.0, 3.0, 2.0, 1.0, 0.0, 0.0, 2.4], 1):
        dual.after_step(Report(step, 8, step == 8, 0.1, (1, 1), 1.0, {"retain_truth": loss}))
        values.append(dual.value)
        other = DualVariable(1.0, limit=2.0, rate=0.5, warmup=0.25)
        other.load_state(dual.state())
        dual = other
    assert values == pytest.approx([1.0, 1.0, 1.5, 1.5, 1.0, 0.0, 0.0, 0.2])


@pytest.mark.parametrize("accumulated", [1, 2])
def test_it_moves_once_a_step_by_the_steps_loss(work: LanguageWork, accumulated: int) -> None:
    told: list[str] = []
    lines: list[dict[str, Any]] = []

    def log(event: str, **values: Any) -> None:
        told.extend([values["text"]] if event == "notice" else [])
        lines.extend([values] if event == "step" else [])

    training = TRAINING.model_copy(update={"gradient_accumulation_steps": accumulated})
    method = PDU(retain_weight=3.0, retain_limit=5.0, dual_step=0.5, dual_warmup=0.25)
    replace(work, training=training, log=log).carry_out(method)
    weight = 3.0
    for number, line in enumerate(lines, 1):
        assert line["retain_loss"] == pytest.approx(weight * line["retain_truth"], rel=1e-5)
        weight = max(0.0, weight + 0.5 * (line["retain_truth"] - 5.0)) if number > 1 else weight
    assert len(lines) == 4
    assert weight != pytest.approx(3.0, abs=0.1)
    assert told == [f"the weight of the retain loss went from 3 to {weight:.4g}; its limit was 5.0000 nats a token"]


def test_without_a_limit_the_base_models_loss_decides(work: LanguageWork) -> None:
    told: list[str] = []
    assert work.retain is not None
    batch = work.retain.batch(range(len(work.retain)))
    before = mean_nll(work.task, work.retain)
    with torch.no_grad():
        assert before == pytest.approx(float(work.task.nll(batch)), rel=1e-5)
    logged = replace(work, log=lambda event, **values: told.append(str(values.get("text"))))
    logged.carry_out(PDU(tolerance=0.2))
    assert f"limit was {1.2 * before:.4f} nats" in told[-1]


class Killed(BaseException):
    pass


def test_killed_anywhere_it_ends_with_the_same_bits(work: LanguageWork, tiny_model_folder: Path) -> None:
    method = PDU(retain_weight=3.0, dual_warmup=0.25)
    often = replace(work, training=TRAINING.model_copy(update={"probe_steps": 1, "save_seconds": 1e-6}))

    def again(name: str, **changes: Any) -> LanguageWork:
        fresh: dict[str, Any] = {"task": load_task(tiny_model_folder), "trained": []}
        return replace(often, **fresh, checkpoints=work.checkpoints / name, **changes)

    whole = again("whole")
    whole.carry_out(method)
    for last in (1, 3):
        told: list[int] = []

        def stop(*_: Any, told: list[int] = told, last: int = last) -> None:
            told.append(1)
            if len(told) > last:
                raise Killed

        with pytest.raises(Killed):
            again(f"{last}", on_progress=stop).carry_out(method)
        resumed = again(f"{last}")
        resumed.carry_out(method)
        assert all(torch.equal(value, whole.weights()[name]) for name, value in resumed.weights().items())


def test_it_needs_a_retain_set(work: LanguageWork) -> None:
    with pytest.raises(RecipeError, match="PDU needs a retain set"):
        replace(work, retain=None).carry_out(PDU())


def test_where_openunlearnings_mask_differs() -> None:
    """A label's place is taken for that of the logits which predict it: one too late, and the first is never flattened."""
    batch = make_batch(random_blocks([94]), first_label=64)
    theirs = (batch.labels[0] != IGNORED).nonzero()[:, 0]
    ours = small_gpt2().labelled(batch)[0].nonzero()[:, 0]
    assert len(theirs) == len(ours) == 30
    assert (theirs - ours == 1).all()
