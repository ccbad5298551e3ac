"""Extrapolate a step of a deep model from the same step of two shallow ones: all its layers are alike.

Every phase of a step holds a fixed number of bytes and a fixed number per layer, so two depths give what any other one
takes. Between the ends of a backward pass, states are freed and gradients added in equal steps: the peak is at one of
the ends.
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
"repeats of the layer pattern in the shallow models"

Made = Callable[[Setting, int | None, int], Taken]


def of_training(setting: Setting) -> Taken:
    """Memory and operations of a training step."""
    # A method that looks for layers, and a recipe that names one, use the numbering of the whole model.
    by_number = setting.training.first_layer > 0 or type(setting.method).found_in is not Method.found_in
    return _taken(training_step, setting, whole=by_number)


def of_looking(setting: Setting) -> Taken:
    """Memory and operations of scoring tokens."""
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
    """Period of the layer pattern: 1 if all are alike, 6 if one in six attends to everything; None: no period."""
    text = kind.config.get_text_config(decoder=True)
    depth = text.num_hidden_layers
    lists = [value for value in vars(text).values() if isinstance(value, list | tuple) and len(value) == depth]
    alike: list[Any] = list(zip(_shapes(kind, depth), *lists, strict=True))
    for period in range(1, depth // 2 + 1):
        if all(alike[number] == alike[number % period] for number in range(depth)):
            return period
    return None


def _shapes(kind: LanguageKind, depth: int) -> list[Any]:
    """Names and shapes of the weights of each layer."""
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
