"""Linear probes: can a forgotten picture be read from the inner features?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.core.order import random_seed
from expunge.kinds.classifier.attacks.examples import evenly
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.attacks.attack import Attack, Side
from expunge.kinds.generator.corruption import draw_keys
from expunge.kinds.generator.measures.leaks import small_pictures
from expunge.kinds.generator.task import ImageToImage
from expunge.ops.layers import blocks
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

LAYERS = 4
"blocks that are probed, evenly spread"
KEPT = 1000
"pictures of the retain set that a probe learns from, at most"
RIDGE = 0.01
"L2 penalty of the probe's weights a picture, on standardised features"


class Probing(Attack):
    """A probe on each layer's features that draws a small picture, minus what it draws if the pictures it learns from
    are shuffled: control labels (Hewitt and Liang 2019, arXiv:1909.03368)."""

    name = "probe"
    title = "Linear probes"
    sentence = (
        "A linear rule on a layer's features learns small pictures of 8 pixels a side from the retain set and half "
        "of the pictures, and is tried on the other half: how much it draws of each one's difference from the mean "
        "picture, minus what the same rule draws after learning from shuffled pictures. The best layer counts."
    )
    order = 55
    own_scale = True
    needs_base = True

    def pieces(self, side: Side) -> list[Piece]:
        work = Work(read=len(side.asked) + min(KEPT, len(side.retain)))
        return [Piece(words="all layers", work=work, trials=None)]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task, asked = side.look(), side.asked
        side.show(0.0, "reading the features")
        kept = side.retain.take(torch.from_numpy(evenly(len(side.retain), KEPT)))
        learnt, tried = kept.joined(asked.some(asked.given)), asked.some(asked.held_back)
        features = [
            layer_features(task, each, draw_keys(len(each), side.seed, "probe", number))
            for number, each in enumerate((learnt, tried))
        ]
        pictures = [small_pictures(each).numpy() for each in (learnt, tried)]
        for name, own in features[0].items():
            values = probe_gains(own, pictures[0], features[1][name], pictures[1], random_seed(side.seed, "shuffled"))
            yield Trial(setting=name, values=values, facts=asked.held_back)


def layer_features(task: ImageToImage, pictures: Pictures, keys: Tensor) -> dict[str, np.ndarray]:
    """Place -> (pictures, width): the mean output of blocks over places or tokens, the encoder's and the decoder's."""
    every = [block for block in blocks(task.model) if next(block.parameters(), None) is not None]
    chosen = [int(row) for row in len(every) - 1 - evenly(len(every), LAYERS)][::-1]
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str, module: Any, given: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else output
        mean = value.flatten(2).mean(2) if value.dim() == 4 else value.mean(1) if value.dim() == 3 else value
        seen.setdefault(name, []).append(mean.float().cpu())

    hooks = [every[at].register_forward_hook(partial(keep, f"after block {at + 1} of {len(every)}")) for at in chosen]
    try:
        with torch.no_grad():
            for batch in task.evaluated(pictures, keys):
                task.outputs(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: np.nan_to_num(torch.cat(parts).double().numpy()) for name, parts in seen.items()}


def probe_gains(
    features: np.ndarray, pictures: np.ndarray, tried: np.ndarray, wanted: np.ndarray, seed: int
) -> list[float]:
    """(tried,) from 0 to 1: how much of each wanted small picture a ridge regression draws beyond one with control
    labels.

    Args:
        features, pictures: (learnt, width) and (learnt, pixels) that the rule learns from.
        tried, wanted: (tried, width) and (tried, pixels).
        seed: seed of the order of the control labels.
    """
    shuffled = pictures[np.random.default_rng(seed).permutation(len(pictures))]
    middle, scale = features.mean(0), features.std(0) + 1e-6
    x, mean = (features - middle) / scale, pictures.mean(0)
    both = np.concatenate([pictures - mean, shuffled - mean], 1)
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ both)
    drawn = ((tried - middle) / scale) @ weights
    whole = np.maximum(((wanted - mean) ** 2).sum(1), 1e-12)
    read = [np.maximum(0.0, 1 - ((wanted - mean - part) ** 2).sum(1) / whole) for part in np.split(drawn, 2, axis=1)]
    return [float(value) for value in np.clip(read[0] - read[1], 0.0, 1.0)]
