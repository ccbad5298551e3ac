"""How well a generator knows a picture: how close what it draws is to the hidden pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.corruption import draw_keys, pixels_of
from expunge.kinds.generator.task import EVALUATION_BATCH, CorruptedBatch, ImageToImage

VIEWS = 2
"corruptions under which each picture is completed"

Changed = Callable[[CorruptedBatch], CorruptedBatch]


def views(count: int, seed: int) -> list[Tensor]:
    """(count,) keys of corruptions, `VIEWS` times: the same for every model."""
    return [draw_keys(count, seed, "audit", view) for view in range(VIEWS)]


@torch.no_grad()
def drawn_in_batches(
    task: ImageToImage, pictures: Pictures, numbers: Sequence[int], keys: Tensor, change: Changed | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(rows, (rows, 3, side, side) uint8 completions, (rows, 1, side, side) 1 where pixels count) of the given
    pictures.

    Args:
        keys: (pictures,) of the whole set.
        change: what an attacker does to the corrupted pictures.
    """
    mode = task.model.training
    task.model.eval()
    try:
        for rows in torch.tensor(list(numbers), dtype=torch.int64).split(EVALUATION_BATCH):
            batch = task.batch(pictures, rows, keys=keys)
            given = batch if change is None else change(batch)
            done = task.completed(task.drawn(given), given.shown, given.hidden)
            hidden = batch.hidden if task.corruption.hides else torch.ones_like(batch.hidden)
            yield rows, done, pixels_of(hidden, done.shape[-1], task.corruption.patch).cpu()
    finally:
        task.model.train(mode)


def nearness(
    task: ImageToImage,
    pictures: Pictures,
    numbers: Sequence[int],
    keys: Sequence[Tensor],
    middle: Tensor,
    change: Changed | None = None,
) -> list[float]:
    r"""(numbers,) from 0 to 1: share of the hidden pixels' difference from the mean picture that is drawn.

    $$\max\Big(0, 1 - \frac{\sum_{v, i} (x_i - \hat x_{v,i})^2}{\sum_{v, i} (x_i - m_i)^2}\Big)$$

    over the hidden pixels i of all views v (all pixels where the corruption hides none): the coefficient of
    determination, with x the picture, \hat x what was drawn, m the mean picture. 1 is the picture itself; 0 is no
    closer than the mean.

    Args:
        keys: of each view, (pictures,) of the whole set.
        middle: (3, side, side) the mean picture, with pixels from 0 to 1.
    """
    place = {number: at for at, number in enumerate(numbers)}
    missed, whole = torch.zeros(len(place), dtype=torch.float64), torch.zeros(len(place), dtype=torch.float64)
    for each in keys:
        for rows, done, counts in drawn_in_batches(task, pictures, numbers, each, change):
            true, at = pictures.pixels[rows].double() / 255, [place[row] for row in rows.tolist()]
            missed[at] += ((true - done.double() / 255).square() * counts).flatten(1).sum(1)
            whole[at] += ((true - middle.double()).square() * counts).flatten(1).sum(1)
    return [float(value) for value in (1 - missed / whole.clamp(min=1e-12)).clamp(min=0.0)]


def mean_picture(pictures: Pictures) -> Tensor:
    """(3, side, side) with pixels from 0 to 1."""
    return pictures.pixels.double().mean(0) / 255
