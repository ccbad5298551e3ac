"""Phases that share an optimizer's memory, second sets of another batch size, and rates that move between epochs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from expunge.core.order import shuffled
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.train.callback import Hooks
from expunge.train.phase import Phase, cosine
from expunge.train.session import Passes
from small_images import small_work, tiny_resnet


def test_phases_with_one_optimizer_are_one_phase() -> None:
    """SGD with momentum over the whole set at once: four phases of an epoch are a phase of four epochs, bit for bit."""
    whole, parts, apart = (small_work(tiny_resnet()) for _ in range(3))
    phase = Phase(name="all", epochs=4, learning_rate=0.01, batch_size=48, weight_decay=1e-3, mode="eval")
    whole.train(phase, whole.retain, lambda batch: ordered(whole, batch))
    for each in phase.by_epoch([0.01] * 4):
        parts.train(each, parts.retain, lambda batch: ordered(parts, batch))
    for number in range(4):
        single = Phase(name=f"{number}", epochs=1, learning_rate=0.01, batch_size=48, weight_decay=1e-3, mode="eval")
        apart.train(single, apart.retain, lambda batch: ordered(apart, batch))
    assert distance(whole, parts) == 0
    assert distance(whole, apart) > 1e-4


def ordered(work: Work, batch: ImageBatch) -> Tensor:
    """Cross-entropy with the batch put in the order of the set, so that sums are the same to the bit."""
    order = batch.rows.argsort()
    return torch.nn.functional.cross_entropy(work.task.logits_of(batch.pixels[order]), batch.labels[order])


def distance(one: Work, other: Work) -> float:
    return max((a - b).abs().max().item() for a, b in zip(one.trainable(), other.trainable(), strict=True))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("last", range(1, 13))
def test_memories_survive_an_interruption(last: int, tmp_path: Path) -> None:
    def turns(work: Work, left: list[int]) -> None:
        def stop() -> None:
            left[0] -= 1
            if not left[0]:
                raise Killed

        for number in range(2):
            for name, pictures in (("up", work.forget), ("down", work.retain)):
                phase = Phase(name=f"{name} {number}", epochs=2, learning_rate=0.01, batch_size=24, continues=name)
                work.train(phase, pictures, work.cross_entropy, callbacks=[Hooks(on_step=stop)])

    whole = small_work(tiny_resnet())
    turns(whole, [0])
    with pytest.raises(Killed):
        turns(small_work(tiny_resnet(), checkpoints=tmp_path, save_seconds=0.0), [last])
    again = small_work(tiny_resnet(), checkpoints=tmp_path, save_seconds=0.0)
    turns(again, [0])
    assert distance(whole, again) == 0


def test_a_second_set_with_batches_of_its_own_that_is_only_looked_at() -> None:
    work = small_work(tiny_resnet(), retain=48, forget=8)
    sizes = []

    def loss(lost: ImageBatch, kept: ImageBatch) -> Tensor:
        sizes.append((len(lost.rows), len(kept.rows)))
        return work.cross_entropy(lost)

    phase = Phase(name="x", epochs=1, learning_rate=0.01, batch_size=4, paired_batch_size=32)
    work.train(phase, work.forget, loss, paired_with=work.retain, passes=Passes(paired=1))
    assert sizes == [(4, 32), (4, 16)]
    assert work.cost.passes == 3 * 8 + 48


def test_a_schedule_over_several_phases() -> None:
    whole = Phase(name="x", epochs=1, learning_rate=1.0, schedule="cosine", final_rate=0.1)
    halves = [
        Phase(name="x", epochs=1, learning_rate=1.0, schedule="cosine", final_rate=0.1, part=part)
        for part in ((0.0, 0.5), (0.5, 1.0))
    ]
    rates = [half.rate(step, 3) for half in halves for step in range(3)]
    assert rates == pytest.approx([whole.rate(step, 6) for step in range(6)], rel=1e-12)


def test_the_cosine_of_each_epoch_is_that_of_pytorch() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5)
    for rate in cosine(0.3, 5):
        assert rate == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_batches_of_one_stay_of_one() -> None:
    assert [len(rows) for rows in shuffled(3, 1, 0, "x")] == [1, 1, 1]
