"""Attacks on a generator that was made to forget: does it still hold what it no longer draws?

Each attacker owns some forgotten pictures, works on the model with them, and is judged on others: how many of those are
identified from what he gets out, as in `identity_recognition`. What a model gives away that never saw the pictures is no
leak, so the figures count by what they exceed the retrained model's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.corruption import Corruption, draw_keys, pixels_of
from expunge.kinds.generator.measures.image_quality import finds_itself
from expunge.kinds.generator.task import CorruptedBatch, ImageToImage

OTHERS = (("random-patches", 0.5), ("center-crop", 0.5), ("border", 0.5))
"corruptions tried in place of the one that was scrubbed"
PROBE_SIDE = 8
"pixels of the small picture that a linear probe reads from the features"
PROBE_PENALTY = 1e-2
"of the probe's ridge regression, as a share of the features' mean square"


@dataclass(frozen=True, slots=True)
class Attacker:
    """What an attacker has.

    Attributes:
        owned: forgotten pictures that he may train on.
        others: pictures of the other kind, of which there are always more.
        aimed: forgotten pictures that he wants; none of `owned`.
        steps: of gradient descent, where the attack takes such.
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
    side = attacker.owned.pixels.shape[-1]
    task = task.twin(copy.deepcopy(task.model).requires_grad_(False))
    change = torch.zeros(1, 3, side, side, dtype=task.dtype, device=task.device, requires_grad=True)

    _descend([change], lambda batch: task.loss(_changed(batch, change)), task, attacker, 0.02, "input")
    return identified(task, attacker, "aimed", lambda batch: _changed(batch, change.detach()))


def tuned_decoder(task: ImageToImage, attacker: Attacker) -> np.ndarray:
    """The decoder trained on the owned pictures, the encoder as it is."""
    twin = task.twin(copy.deepcopy(task.model))
    encoder = {id(parameter) for parameter in twin.encoder.parameters()}
    decoder = [p for p in twin.model.parameters() if id(p) not in encoder and p.requires_grad]
    # The encoder's gradients are made, too, and not used: torch's group norm ends the process in its backward pass on a
    # CPU where its weights need a gradient and its input does not.
    _descend(decoder, twin.loss, twin, attacker, 1e-3, "decoder")
    return identified(twin, attacker, "aimed")


@torch.no_grad()
def linear_probe(task: ImageToImage, attacker: Attacker) -> np.ndarray:
    """A ridge regression from the encoder's mean feature to a small picture, fitted on owned and other pictures."""
    known = attacker.owned.joined(attacker.others)
    x = _pooled(task.set_features(known, attacker.keys(known, "probe")))
    aimed = _pooled(task.set_features(attacker.aimed, attacker.keys(attacker.aimed, "probe aimed")))
    small = _small(known)
    mean, middle = x.mean(0), small.mean(0)
    centred = x - mean
    gram = centred.T @ centred
    penalty = PROBE_PENALTY * gram.diagonal().mean() + 1e-9  # features that are all the same tell nothing
    weights = torch.linalg.solve(gram + penalty * torch.eye(len(gram), dtype=gram.dtype), centred.T @ (small - middle))
    drawn = (aimed - mean) @ weights + middle
    return finds_itself(drawn.numpy()[:, None], _small(attacker.aimed).numpy()[:, None], np.ones(drawn.shape, bool))


def identified(
    task: ImageToImage,
    attacker: Attacker,
    name: str,
    change: Callable[[CorruptedBatch], CorruptedBatch] | None = None,
) -> np.ndarray:
    """(pictures,) 1 where the nearest of the pictures aimed at, over what was drawn, is the right one."""
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


def _changed(batch: CorruptedBatch, change: Tensor) -> CorruptedBatch:
    return replace(batch, shown=torch.cat([(batch.shown[:, :3] + change).clamp(-3, 3), batch.shown[:, 3:]], 1))


def _descend(
    parameters: Sequence[Tensor],
    loss: Callable[[CorruptedBatch], Tensor],
    task: ImageToImage,
    attacker: Attacker,
    rate: float,
    name: str,
) -> None:
    """Adam on all owned pictures at once, corrupted again at each step."""
    optimizer = torch.optim.Adam(parameters, lr=rate)
    rows = torch.arange(len(attacker.owned))
    for step in range(attacker.steps):
        batch = task.batch(attacker.owned, rows, keys=attacker.keys(attacker.owned, name, step))
        optimizer.zero_grad(set_to_none=True)
        loss(batch).backward()
        optimizer.step()


def _pooled(features: Tensor) -> Tensor:
    return features.flatten(1, -2).mean(1).double() if features.ndim > 2 else features.double()


def _small(pictures: Pictures) -> Tensor:
    """(n, PROBE_SIDE^2) grey values from 0 to 1."""
    grey = (pictures.pixels.float() / 255).mean(1, keepdim=True)
    return F.adaptive_avg_pool2d(grey, PROBE_SIDE).flatten(1).double()
