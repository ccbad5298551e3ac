"""Phases of training over pictures: order, cost, schedules, and resuming after an interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from expunge.core.order import shuffled
from expunge.errors import DivergedError
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.ops.layers import first_layer, leaves, reset
from expunge.train.callback import Hooks
from expunge.train.phase import Phase
from small_images import small_work, tiny_resnet, tiny_vit


def state(work: Work) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in work.model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def three_phases(work: Work, after_step: Callable[[], None] | None = None) -> None:
    """Descend, put noise on the first layer, descend paired with the forget set with a new noise each epoch."""
    hooks = [Hooks(on_step=after_step)]

    def loss(batch: ImageBatch) -> Tensor:
        return work.cross_entropy(batch)

    def both(batch: ImageBatch, other: ImageBatch) -> Tensor:
        return work.cross_entropy(batch) - 0.01 * work.cross_entropy(other)

    def shake(epoch: int) -> None:
        with torch.no_grad():
            weight = first_layer(work.model).weight
            weight += 0.01 * torch.randn(weight.shape, generator=work.generator("shake", epoch))

    work.train(Phase(name="one", epochs=2, learning_rate=0.01, batch_size=16), work.retain, loss, callbacks=hooks)
    reset([first_layer(work.model)], work.generator("reset"))
    work.train(
        Phase(name="two", epochs=2, learning_rate=1e-3, optimizer="adam", batch_size=16, schedule="cosine"),
        work.retain,
        both,
        paired_with=work.forget,
        callbacks=[*hooks, Hooks(on_epoch=shake)],
    )
    work.train(Phase(name="three", epochs=1, learning_rate=0.01, batch_size=8), work.forget, loss, callbacks=hooks)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("make", [tiny_resnet, tiny_vit])
def test_an_interruption_at_any_step_changes_no_bit(make: Callable[[], object], tmp_path: Path) -> None:
    whole = small_work(make())  # type: ignore[arg-type]
    three_phases(whole)
    steps = sum(map(len, whole.losses.values()))
    assert steps == 6 + 6 + 1
    for last in range(1, steps + 1):
        folder = tmp_path / str(last)
        folder.mkdir()
        broken = small_work(make(), checkpoints=folder, save_seconds=0.0)  # type: ignore[arg-type]
        left = [last]

        def stop(left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                raise Killed

        with pytest.raises(Killed):
            three_phases(broken, after_step=stop)
        again = small_work(make(), checkpoints=folder, save_seconds=0.0)  # type: ignore[arg-type]
        three_phases(again)
        assert equal(state(again), state(whole)), last
        assert again.cost.passes == whole.cost.passes
        assert again.losses == whole.losses


def test_another_seed_gives_other_weights_and_the_same_the_same() -> None:
    results = []
    for seed in (0, 0, 1):
        work = small_work(tiny_resnet(), seed=seed)
        three_phases(work)
        results.append(state(work))
    assert equal(results[0], results[1])
    assert not equal(results[0], results[2])


def test_what_training_costs() -> None:
    work = small_work(tiny_resnet(), retain=48, forget=8)
    assert work.original.model is not work.model
    three_phases(work)
    # phase two sees the 8 forgotten pictures in each of its 6 steps
    assert work.cost.passes == 3 * (2 * 48 + 2 * 48 + 6 * 8 + 8)
    work.original_outputs(work.retain)
    work.original_outputs(work.retain)
    assert work.cost.passes == 3 * (2 * 48 + 2 * 48 + 6 * 8 + 8) + 48


def test_gradients_are_those_of_the_loss_and_leave_the_weights(tmp_path: Path) -> None:
    work = small_work(tiny_vit(), retain=24)
    before = state(work)
    found = list(work.gradients(work.retain, work.cross_entropy, batch_size=24))
    assert len(found) == 1
    assert equal(state(work), before)
    logits = work.task.logits_of(work.task.normalised(work.retain.pixels))
    wanted = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, work.retain.labels), work.trainable())
    for one, other in zip(found[0], wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_original_stays_as_it_was() -> None:
    work = small_work(tiny_resnet())
    before = work.original.outputs(work.retain)
    three_phases(work)
    assert torch.equal(work.original.outputs(work.retain), before)
    assert not torch.equal(work.outputs(work.retain), before)


def test_the_original_is_copied_only_for_those_who_ask() -> None:
    work = small_work(tiny_resnet())
    three_phases(work)
    with pytest.raises(RuntimeError, match="access `original` first"):
        _ = work.original
    direct = small_work(tiny_resnet())
    reset([first_layer(direct.model)], direct.generator("reset"))
    with pytest.raises(RuntimeError, match="access `original` first"):
        _ = direct.original


def test_schedules() -> None:
    phase = Phase(name="x", epochs=1, learning_rate=1.0, schedule="cosine", final_rate=0.2, warmup=0.5)
    assert [phase.rate(step, 4) for step in range(4)] == pytest.approx([0.5, 1.0, 1.0, 0.6])
    linear = Phase(name="x", epochs=1, learning_rate=1.0, schedule="linear")
    assert [linear.rate(step, 4) for step in range(4)] == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert Phase(name="x", epochs=1, learning_rate=1.0).rate(3, 4) == 1.0


def test_parts_of_a_pass_and_a_last_picture_alone() -> None:
    assert sorted(np.concatenate(shuffled(65, 16, 0, "x")).tolist()) == list(range(65))
    assert [len(rows) for rows in shuffled(65, 16, 0, "x")] == [16, 16, 16, 17]
    work = small_work(tiny_resnet(), retain=48)
    work.train(Phase(name="half", epochs=0.5, learning_rate=0.1, batch_size=8), work.retain, work.cross_entropy)
    assert len(work.losses["half"]) == 3


def test_a_loss_that_is_no_number_is_told() -> None:
    work = small_work(tiny_resnet())
    before = state(work)
    phase = Phase(name="bad", epochs=1, learning_rate=0.1)
    with pytest.raises(DivergedError, match="bad, step 1"):
        work.train(phase, work.retain, lambda batch: work.cross_entropy(batch) * float("nan"))
    assert all(torch.equal(p, before[name]) for name, p in work.model.named_parameters())


def test_only_the_parameters_named_are_trained() -> None:
    work = small_work(tiny_vit())
    before = state(work)
    last = leaves(work.model)[-1]
    work.train(
        Phase(name="head", epochs=1, learning_rate=0.1),
        work.retain,
        work.cross_entropy,
        parameters=last[1].parameters(),
    )
    changed = {name for name, value in work.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{last[0]}.weight", f"{last[0]}.bias"}
