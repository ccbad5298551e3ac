"""The detector of an adapter: the similarity of a text to the adapter's forget set, and the weight from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from expunge.ops.nearness import Near, distances, near

PARTS = tuple(each.name for each in fields(Near))
OTHER = "other_"
"prefix of the names of the other set's tensors"
LEAST = 1e-6
"standard deviation below which figures count as equal"
FEWEST = 4
"number of texts from which every second text is held back; with fewer, every second position"
FAR = 3.0
"the boundary, in standard deviations, where there is no other set"


class Detector(nn.Module):
    r"""Similarity of hidden states to those of the forget set, layer by layer.

    $$s(x) = \frac{1}{2 L} \sum_l \left(\frac{m_l(x) - \bar m_l}{\sigma(m_l)} + \frac{c_l(x) - \bar
      c_l}{\sigma(c_l)}\right), \qquad w(x) = \sigma\!\left(\kappa \left(b - \frac{s(x) - \bar
      s}{\sigma(s)}\right)\right)$$

    $m_l$ is the Mahalanobis distance of the mean hidden state after layer l from those of half of the forget set, $c_l$
    one less the largest cosine with one of them; see `ops.nearness`. With another set, the retain set, both are
    minus the same for half of that one: a relative distance (Ren et al. 2021, arXiv:2106.09022). Means and deviations
    are those of the other half of the forget set. So b is in standard deviations of held-out texts of the forget set:
    there w is a half.

    Args:
        tensors: those of `made`, by name, with a first dimension of layers.
        boundary, steepness: b and kappa; None: where `made` puts the boundary.
    """

    def __init__(self, tensors: dict[str, Tensor], boundary: float | None, steepness: float) -> None:
        super().__init__()
        for name, value in tensors.items():
            self.register_buffer(name, value)
        self.boundary = float(self.get_buffer("scores")[2]) if boundary is None else boundary
        self.steepness = steepness

    @property
    def layers(self) -> int:
        """Number of first layers that it uses."""
        return len(self.get_buffer("mean"))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All its tensors, by name."""
        return dict(self.named_buffers())

    def part(self, layer: int, features: Tensor) -> Tensor:
        """(...) a layer's contribution to s, from (..., width) mean hidden states."""
        usual = self.get_buffer("usual")[layer]
        held, other = (self._near(layer, before) for before in ("", OTHER))
        assert held is not None
        both = _figures(features.to(usual.dtype), held, other)
        return ((both - usual[0]) / usual[1]).mean(-1) / self.layers

    def _near(self, layer: int, before: str) -> Near | None:
        there = self.tensors
        if f"{before}mean" not in there:
            return None
        return Near(**{name: there[f"{before}{name}"][layer] for name in PARTS})

    def weight(self, score: Tensor) -> Tensor:
        """(...) w, of s (...)."""
        mean, deviation, _ = self.get_buffer("scores")
        return torch.sigmoid(self.steepness * (self.boundary - (score - mean) / deviation))


def _figures(features: Tensor, held: Near, other: Near | None) -> Tensor:
    """(..., 2) m and c of (..., width) features."""
    both = torch.stack(distances(features, held), -1)
    return both if other is None else both - torch.stack(distances(features, other), -1)


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shapes that a detector's tensors must have, by name, from its banks; empty if there is none."""
    found: dict[str, tuple[int, ...]] = {}
    for before in ("", OTHER):
        bank = tensors.get(f"{before}bank")
        if bank is None or bank.dim() != 3:
            continue
        layers, count, width = bank.shape
        own = {
            **dict.fromkeys(("mean", "scale"), (layers, width)),
            **dict.fromkeys(("directions", "bank"), (layers, count, width)),
            "variances": (layers, count),
            "floor": (layers,),
        }
        found |= {f"{before}{name}": shape for name, shape in own.items()} | {"usual": (layers, 2, 2), "scores": (3,)}
    return found


Places = tuple[Tensor, Tensor]
"(places, layers, width) mean hidden states, and (places,) the number of the text that each is of"


def made(forget: Places, other: Places | None = None) -> dict[str, Tensor]:
    """The tensors of a detector, float32.

    Its boundary is where held-out texts of both sets are misjudged equally often, assuming normal scores; without
    another set, `FAR` deviations away.
    """
    (fitted, back), (others, other_back) = _halves(forget), (None, None) if other is None else _halves(other)
    held = _near_each(fitted)
    against: Sequence[Near | None] = [None] * len(held) if others is None else _near_each(others)
    found = {name: torch.stack([getattr(each, name) for each in held]) for name in PARTS}
    if others is not None:
        found |= {f"{OTHER}{name}": torch.stack([getattr(each, name) for each in against]) for name in PARTS}

    def figures(features: Tensor) -> Tensor:  # layers, places, both
        pairs = zip(held, against, strict=True)
        return torch.stack([_figures(features[:, at].double(), *pair) for at, pair in enumerate(pairs)])

    own = figures(back)
    usual = torch.stack([own.mean(1), own.std(1, correction=0).clamp(min=LEAST)], 1)

    def scored(features: Tensor) -> tuple[Tensor, Tensor]:  # mean and deviation
        scores = ((figures(features) - usual[:, None, 0]) / usual[:, None, 1]).mean((0, 2))
        return scores.mean(), scores.std(correction=0).clamp(min=LEAST)

    mean, deviation = scored(back)
    boundary = torch.tensor(FAR, dtype=torch.float64)
    if other_back is not None:
        theirs = scored(other_back)
        boundary = (theirs[0] - mean) / (deviation + theirs[1])
    found["usual"], found["scores"] = usual, torch.stack([mean, deviation, boundary])
    return {name: value.float().contiguous() for name, value in found.items()}


def _near_each(features: Tensor) -> list[Near]:
    return [near(features[:, layer]) for layer in range(features.shape[1])]


def _halves(places: Places) -> tuple[Tensor, Tensor]:
    """(features to make a detector of, held-back ones): every second text."""
    features, texts = places
    several = len(texts.unique()) >= FEWEST
    back = (torch.unique(texts, return_inverse=True)[1] if several else torch.arange(len(texts))) % 2 == 1
    return features[~back], features[back]
