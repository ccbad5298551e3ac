"""What a step of a deep model takes, from the same step of two shallow ones: all its layers are alike.

Every phase of a step holds a fixed number of bytes and as many again for each layer, so two depths say what any other one
takes. In between the ends of a backward pass, states go and gradients come in equal steps: the most is at one of the ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from expunge.kinds.language.plan.fakes import build
from expunge.kinds.language.plan.following import MIDDLE
from expunge.kinds.language.plan.step import Setting, Taken, look, training_step
from expunge.models.language_kind import LanguageKind
from expunge.runs.method import Method

SHALLOW = 2, 3
"times that the layers that repeat are taken"

Made = Callable[[Setting, int | None, int], Taken]


def of_training(setting: Setting) -> Taken:
    """What a training step takes."""
    # A method that looks for layers, and a recipe that names one, take them as they are numbered in the whole model.
    by_number = setting.training.first_layer > 0 or type(setting.method).found_in is not Method.found_in
    return _taken(training_step, setting, whole=by_number)


def of_looking(setting: Setting) -> Taken:
    """What scoring tokens takes."""
    return _taken(look, setting, whole=False)


def _taken(make: Made, setting: Setting, whole: bool) -> Taken:
    layers = setting.model.config.get_text_config(decoder=True).num_hidden_layers
    period = None if whole else period_of(setting.model)
    if period is None or layers <= sum(SHALLOW) * period:
        return make(setting, None, period or 1)
    one, other = (make(setting, times * period, period) for times in SHALLOW)
    blocks = layers / period

    def at(low: int, high: int) -> int:
        return round(low + (high - low) * (blocks - SHALLOW[0]) / (SHALLOW[1] - SHALLOW[0]))

    peaks = {
        name: at(peak, other.peaks[name])
        for name, peak in one.peaks.items()
        if name in other.peaks and not name.endswith(MIDDLE)
    }
    return Taken(peaks=peaks, numbers={name: at(value, other.numbers[name]) for name, value in one.numbers.items()})


def period_of(kind: LanguageKind) -> int | None:
    """After how many layers they repeat: 1 where all are alike, 6 where one in six attends to everything; None: never."""
    text = kind.config.get_text_config(decoder=True)
    depth = text.num_hidden_layers
    lists = [value for value in vars(text).values() if isinstance(value, list | tuple) and len(value) == depth]
    alike: list[Any] = list(zip(_shapes(kind, depth), *lists, strict=True))
    for period in range(1, depth // 2 + 1):
        if all(alike[number] == alike[number % period] for number in range(depth)):
            return period
    return None


def _shapes(kind: LanguageKind, depth: int) -> list[Any]:
    """What the weights of each layer look like."""
    with torch.device("meta"):
        model = build(kind, torch.float32)
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == depth]
    return [
        tuple(
            tuple(
                (type(module).__name__, *(tuple(p.shape) for p in module.parameters(recurse=False))) for module in each
            )
            for each in (layers[number].modules() for layers in lists)
        )
        for number in range(depth)
    ]
