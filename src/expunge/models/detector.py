"""The detector of an adapter: how like a text is to what the adapter was trained to forget, and its weight from 0 to 1."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from expunge.ops.nearness import Near, distances, near

PARTS = tuple(each.name for each in fields(Near))
LEAST = 1e-6
"standard deviation below which figures count as equal"
FEWEST = 4
"texts of which every other one is held back; of fewer, every other place is"


class Detector(nn.Module):
    r"""How like hidden states are to those of the forget set, layer by layer.

    $$s(x) = \frac{1}{2 L} \sum_l \left(\frac{m_l(x) - \bar m_l}{\sigma(m_l)} + \frac{c_l(x) - \bar c_l}{\sigma(c_l)}\right),
      \qquad w(x) = \sigma\!\left(\kappa \left(b - \frac{s(x) - \bar s}{\sigma(s)}\right)\right)$$

    $m_l$ is the Mahalanobis distance of the mean hidden state after layer l from those of half of the forget set, $c_l$
    one less the largest cosine with one of them; see `ops.nearness`. Means and deviations are the other half's. So b is
    in standard deviations of texts like the forget set that the detector did not see: there w is a half.

    Args:
        tensors: those of `made`, by name, with a first dimension of layers.
        boundary, steepness: b and kappa.
    """

    def __init__(self, tensors: dict[str, Tensor], boundary: float, steepness: float) -> None:
        super().__init__()
        for name, value in tensors.items():
            self.register_buffer(name, value)
        self.boundary, self.steepness = boundary, steepness

    @property
    def layers(self) -> int:
        """How many of the first layers it looks at."""
        return len(self.get_buffer("mean"))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that it is made of, by name."""
        return dict(self.named_buffers())

    def part(self, layer: int, features: Tensor) -> Tensor:
        """(...) what a layer adds to s, of (..., width) mean hidden states."""
        held = Near(**{name: self.get_buffer(name)[layer] for name in PARTS})
        usual = self.get_buffer("usual")[layer]
        both = torch.stack(distances(features.to(usual.dtype), held), -1)
        return ((both - usual[0]) / usual[1]).mean(-1) / self.layers

    def weight(self, score: Tensor) -> Tensor:
        """(...) w, of s (...)."""
        mean, deviation = self.get_buffer("scores")
        return torch.sigmoid(self.steepness * (self.boundary - (score - mean) / deviation))


def shapes(layers: int, width: int, count: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a detector's tensors, by name.

    Args:
        count: features that it is held against.
    """
    return {
        **dict.fromkeys(("mean", "scale"), (layers, width)),
        **dict.fromkeys(("directions", "bank"), (layers, count, width)),
        "variances": (layers, count),
        "floor": (layers,),
        "usual": (layers, 2, 2),
        "scores": (2,),
    }


def made(features: Tensor, texts: Tensor) -> dict[str, Tensor]:
    """The tensors of a detector, float32.

    Args:
        features: (places, layers, width) mean hidden states.
        texts: (places,) the number of the text that each is of.
    """
    several = len(texts.unique()) >= FEWEST
    back = (torch.unique(texts, return_inverse=True)[1] if several else torch.arange(len(texts))) % 2 == 1
    held = [near(features[~back, layer]) for layer in range(features.shape[1])]
    found = {name: torch.stack([getattr(each, name) for each in held]) for name in PARTS}
    figures = torch.stack(
        [torch.stack(distances(features[back, layer].double(), each), -1) for layer, each in enumerate(held)]
    )  # layers, places, both
    usual = torch.stack([figures.mean(1), figures.std(1, correction=0).clamp(min=LEAST)], 1)
    scores = ((figures - usual[:, None, 0]) / usual[:, None, 1]).mean((0, 2))
    found["usual"] = usual
    found["scores"] = torch.stack([scores.mean(), scores.std(correction=0).clamp(min=LEAST)])
    return {name: value.float().contiguous() for name, value in found.items()}
