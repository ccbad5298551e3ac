"""Linear probes: can the true class be read from the inner features?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.kinds.classifier.attacks.attack import Attack, Side
from expunge.kinds.classifier.attacks.examples import evenly
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.ops.layers import blocks, head
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

LAYERS = 3
"blocks to probe, evenly spread, in addition to the head's inputs"
KEPT = 1000
"pictures of the retain set that a probe learns from, at most"
RIDGE = 0.01
"L2 penalty of the probe's weights a picture, on standardised features"


class Probing(Attack):
    """A probe on each layer's features, fitted on the retain set and half of the forgotten pictures. What a probe can
    learn by itself (Hewitt and Liang 2019, arXiv:1909.03368), it also learns on the control."""

    name = "probe"
    title = "Linear probes"
    sentence = (
        "A linear rule on a layer's features learns the classes from the retain set and half of the pictures, and is "
        "tried on the other half. The best layer counts."
    )
    order = 55
    own_scale = True

    def missing(self, side: Side) -> str | None:
        if getattr(side.look().model, "is_ensemble", False):
            return "an ensemble of networks has no common features"
        return None

    def pieces(self, side: Side) -> list[Piece]:
        work = Work(read=len(side.asked) + min(KEPT, len(side.retain)))
        return [Piece(words="all layers", work=work, trials=None)]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task, asked = side.look(), side.asked
        side.show(0.0, "reading the features")
        kept = side.retain.take(torch.from_numpy(evenly(len(side.retain), KEPT)))
        learnt = kept.joined(asked.some(asked.given))
        tried = asked.some(asked.held_back)
        states = layer_features(task, learnt), layer_features(task, tried)
        for name, features in states[0].items():
            values = right(features, learnt.labels.numpy(), states[1][name], tried.labels.numpy())
            yield Trial(setting=name, values=values, facts=asked.held_back)


def layer_features(task: ImageClassifier, pictures: Pictures) -> dict[str, np.ndarray]:
    """Place -> (pictures, width): the mean output of blocks over places or tokens, and the head's inputs."""
    every = blocks(task.model)[:-1]
    chosen = [int(row) for row in len(every) - 1 - evenly(len(every), LAYERS)][::-1]
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str, value: Any) -> None:
        value = value[0] if isinstance(value, tuple) else value
        mean = value.flatten(2).mean(2) if value.dim() == 4 else value.mean(1) if value.dim() == 3 else value
        seen.setdefault(name, []).append(mean.float().cpu())

    def after(name: str, module: Any, given: Any, output: Any) -> None:
        keep(name, output)

    def before(module: Any, given: Any) -> None:
        keep("what the head sees", given[0].flatten(1))

    hooks = [every[at].register_forward_hook(partial(after, f"after block {at + 1} of {len(every)}")) for at in chosen]
    hooks.append(head(task.model).register_forward_pre_hook(before))
    try:
        task.outputs(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: np.nan_to_num(torch.cat(parts).double().numpy()) for name, parts in seen.items()}


def right(features: np.ndarray, labels: np.ndarray, tried: np.ndarray, wanted: np.ndarray) -> list[float]:
    """(tried,) 1 where a ridge rule that learnt `labels` from `features` names the wanted class, else 0.

    Classes have equal weight. Both features are (pictures, width), of different pictures.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(labels)) < 2:
        return [0.0] * len(wanted)
    rule = make_pipeline(StandardScaler(), RidgeClassifier(alpha=RIDGE * len(labels), class_weight="balanced"))
    rule.fit(features, labels)
    return [float(value) for value in rule.predict(tried) == wanted]
