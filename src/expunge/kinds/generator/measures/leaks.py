"""Attacks on a generator that was made to forget: does it still contain what it no longer draws?

Each attacker owns some forgotten pictures, works on the model with them, and is judged on others: how many of those are
identified from the output, as in `identity_recognition`. What a model that never saw the pictures gives away is not a
leak, so what counts is the excess over the retrained model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.corruption import Corruption, draw_keys, pixels_of
from expunge.kinds.generator.measures.image_quality import finds_itself
from expunge.kinds.generator.task import CorruptedBatch, ImageToImage

OTHERS = (("random-patches", 0.5), ("center-crop", 0.5), ("border", 0.5))
"corruptions tried instead of the one used to unlearn"
PROBE_SIDE = 8
"pixels of the small picture that a linear probe reads from the features"
PROBE_PENALTY = 1e-2
"of the probe's ridge regression, as a share of the features' mean square"


@dataclass(frozen=True, slots=True)
class Attacker:
    """What an attacker is given.

    Attributes:
        owned: forgotten pictures to train on.
        others: pictures of the other kind, always more than the owned ones.
        aimed: forgotten pictures to recover; none of `owned`.
        steps: of gradient descent, if the attack takes any.
    """

    owned: Pictures
    others: Pictures
    aimed: Pictures
    steps: int
    seed: int

    def keys(self, pictures: Pictures, *names: str | int) -> Tensor:
        return draw_keys(len(pictures), self.seed, "attack", *names)

    def chance(self) -> float:
        return 1 / max(1, len(self.aimed))


def leaks(task: ImageToImage, attacker: Attacker) -> dict[str, np.ndarray]:
    """(pictures,) 1 where a picture aimed at was identified, else 0, by attack; the model stays as it was."""
    return {
        "leak_corruption": other_corruptions(task, attacker),
        "leak_input": optimised_input(task, attacker),
        "leak_decoder": tuned_decoder(task, attacker),
        "leak_probe": linear_probe(task, attacker),
    }


def other_corruptions(task: ImageToImage, attacker: Attacker) -> np.ndarray:
    """Identification under that other corruption of `OTHERS` under which it succeeds most."""
    best = np.zeros(len(attacker.aimed))
    for name, strength in OTHERS:
        corruption = Corruption(name, strength, task.corruption.patch)
        if (name, corruption.value) == (task.corruption.name, task.corruption.value):
            continue
        found = identified(task.under(corruption), attacker, name)
        best = found if found.sum() > best.sum() else best
    return best


def optimised_input(task: ImageToImage, attacker: Attacker) -> np.ndarray:
    """One change of the shown pixels, the same for all pictures, found by Adam on the owned ones' training loss."""
    twin = task.twin(copy.deepcopy(task.model))
    change = change_of_input(twin, attacker.owned, partial(attacker.keys, attacker.owned, "input"), attacker.steps)
    return identified(task, attacker, "aimed", lambda batch: changed(batch, change))


def change_of_input(task: ImageToImage, pictures: Pictures, keys: Callable[[int], Tensor], steps: int) -> Tensor:
    """(1, 3, side, side) the change of normalised shown pixels, the same for all pictures, under which their training
    loss is least, by Adam. The model's weights need no gradients afterwards.

    Args:
        keys: (pictures,) of corruptions, of each step.
    """
    side = pictures.pixels.shape[-1]
    task.model.requires_grad_(False)
    change = torch.zeros(1, 3, side, side, dtype=task.dtype, device=task.device, requires_grad=True)
    _descend([change], lambda batch: task.loss(changed(batch, change)), task, pictures, keys, steps, 0.02)
    return change.detach()


def tuned_decoder(task: ImageToImage, attacker: Attacker) -> np.ndarray:
    """The decoder trained on the owned pictures, the encoder frozen."""
    twin = task.twin(copy.deepcopy(task.model))
    keys = partial(attacker.keys, attacker.owned, "decoder")
    _descend(decoder_weights(twin), twin.loss, twin, attacker.owned, keys, attacker.steps, 1e-3)
    return identified(twin, attacker, "aimed")


def decoder_weights(task: ImageToImage) -> list[nn.Parameter]:
    """The trained weights outside of the encoder.

    The encoder's gradients are computed, too, and not used: torch's group norm ends the process in its backward pass on
    a CPU if its weights need a gradient and its input does not.
    """
    encoder = {id(parameter) for parameter in task.encoder.parameters()}
    return [p for p in task.model.parameters() if id(p) not in encoder and p.requires_grad]


@torch.no_grad()
def linear_probe(task: ImageToImage, attacker: Attacker) -> np.ndarray:
    """A ridge regression from the encoder's mean feature to a small picture, fitted on owned and other pictures."""
    known = attacker.owned.joined(attacker.others)
    x = _pooled(task.set_features(known, attacker.keys(known, "probe")))
    aimed = _pooled(task.set_features(attacker.aimed, attacker.keys(attacker.aimed, "probe aimed")))
    small = small_pictures(known)
    mean, middle = x.mean(0), small.mean(0)
    drawn = (aimed - mean) @ ridge(x - mean, small - middle) + middle
    return finds_itself(
        drawn.numpy()[:, None], small_pictures(attacker.aimed).numpy()[:, None], np.ones(drawn.shape, bool)
    )


def ridge(x: Tensor, y: Tensor) -> Tensor:
    """(d, k) weights of a ridge regression from (n, d) features to (n, k) values, both centred.

    (X'X + p)^-1 X'Y = X'(XX' + p)^-1 Y: whichever system is the smaller one is solved.
    """
    penalty = PROBE_PENALTY * x.square().sum() / x.shape[1] + 1e-9  # features that are all the same tell nothing
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x
    gram.diagonal().add_(penalty)
    return x.T @ torch.linalg.solve(gram, y) if len(x) < x.shape[1] else torch.linalg.solve(gram, x.T @ y)


def identified(
    task: ImageToImage,
    attacker: Attacker,
    name: str,
    change: Callable[[CorruptedBatch], CorruptedBatch] | None = None,
) -> np.ndarray:
    """(pictures,) 1 if the nearest of the pictures aimed at, over what was drawn, is the right one."""
    keys, parts, drawn = attacker.keys(attacker.aimed, name), [], []
    side = attacker.aimed.pixels.shape[-1]
    with torch.no_grad():
        for batch in task.evaluated(attacker.aimed, keys):
            given = batch if change is None else change(batch)
            parts.append(task.completed(task.drawn(given), given.shown, given.hidden))
            hidden = batch.hidden if task.corruption.hides else torch.ones_like(batch.hidden)
            drawn.append(pixels_of(hidden, side, task.corruption.patch).flatten(1))
    queries = torch.cat(parts).flatten(2).numpy() / 127.5 - 1
    gallery = attacker.aimed.pixels.flatten(2).numpy() / 127.5 - 1
    return finds_itself(queries, gallery, torch.cat(drawn).cpu().numpy())


def changed(batch: CorruptedBatch, change: Tensor) -> CorruptedBatch:
    return replace(batch, shown=torch.cat([(batch.shown[:, :3] + change).clamp(-3, 3), batch.shown[:, 3:]], 1))


def _descend(
    parameters: Sequence[Tensor],
    loss: Callable[[CorruptedBatch], Tensor],
    task: ImageToImage,
    pictures: Pictures,
    keys: Callable[[int], Tensor],
    steps: int,
    rate: float,
) -> None:
    """Adam on all pictures at once, with new corruptions at each step."""
    optimizer = torch.optim.Adam(parameters, lr=rate)
    rows = torch.arange(len(pictures))
    for step in range(steps):
        batch = task.batch(pictures, rows, keys=keys(step))
        optimizer.zero_grad(set_to_none=True)
        loss(batch).backward()
        optimizer.step()


def _pooled(features: Tensor) -> Tensor:
    return features.flatten(1, -2).mean(1).double() if features.ndim > 2 else features.double()


def small_pictures(pictures: Pictures) -> Tensor:
    """(n, PROBE_SIDE^2) grey values from 0 to 1."""
    grey = (pictures.pixels.float() / 255).mean(1, keepdim=True)
    return F.adaptive_avg_pool2d(grey, PROBE_SIDE).flatten(1).double()
