"""Weights rounded to few bits and widened again, in plain torch: what a quantised model computes with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"the levels of NormalFloat4 (Dettmers et al. 2023, arXiv:2305.14314, appendix E)"
GROUP = 64
"weights that share a scale"

Rounding = Callable[[Tensor], Tensor]


def round_to_nearest(weight: Tensor, bits: int, group: int | None = GROUP) -> Tensor:
    """Symmetric rounding to 2^bits - 1 levels, with a scale for every `group` weights of a row (None: for each row).

    Args:
        weight: (..., rows, columns), a row for each output, as linear layers and matrices of experts hold it. A last group
            that is not full has a scale of its own.
    """
    most = 2 ** (bits - 1) - 1
    grouped, back = _grouped(weight, group)
    scale = grouped.abs().amax(-1, keepdim=True) / most
    levels = (grouped / scale.clamp(min=torch.finfo(weight.dtype).tiny)).round().clamp(-most, most)
    return back(levels * scale)


def normal_float4(weight: Tensor, group: int = GROUP) -> Tensor:
    """The nearest levels of NF4, each group of weights divided by its largest magnitude."""
    grouped, back = _grouped(weight, group)
    scale = grouped.abs().amax(-1, keepdim=True)
    levels = torch.tensor(NF4, dtype=weight.dtype, device=weight.device)
    middles = (levels[1:] + levels[:-1]) / 2
    unit = grouped / scale.clamp(min=torch.finfo(weight.dtype).tiny)
    return back(levels[torch.bucketize(unit, middles)] * scale)


def _grouped(weight: Tensor, group: int | None) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """((groups, size) the weights, padded with 0; how to get them back into their form)."""
    columns = weight.shape[-1]
    size = min(group or columns, columns)
    padding = -columns % size
    wide = torch.nn.functional.pad(weight.reshape(-1, columns), (0, padding))

    def back(values: Tensor) -> Tensor:
        return values.reshape(-1, columns + padding)[:, :columns].reshape(weight.shape)

    return wide.reshape(-1, size), back


ROUNDINGS: dict[str, Rounding] = {
    "8 bits, a scale a row": partial(round_to_nearest, bits=8, group=None),
    "4 bits, groups of 64": partial(round_to_nearest, bits=4),
    "NF4, groups of 64": normal_float4,
}
"what is tried, in words"


def by_columns(rounding: Rounding) -> Rounding:
    """The same for weights that lie the other way round, (..., columns, rows): a column for each output."""
    return lambda weight: rounding(weight.mT).mT


def survived(before: Tensor, after: Tensor, rounding: Rounding) -> tuple[float, float]:
    """(<Q(after) - Q(before), after - before>, |after - before|^2): their ratio is how much of a change rounding keeps."""
    change = (after - before).double()
    left = (rounding(after) - rounding(before)).double()
    return float((left * change).sum()), float(change.square().sum())
