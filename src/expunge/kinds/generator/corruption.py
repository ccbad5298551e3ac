"""Corruptions of the pictures that a generator has to restore: patches hidden, detail lost, noise added.

A corruption is a function of a picture and a whole number, its key: the same key hides the same patches, on every
machine and in every batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from expunge.core.order import random_seed
from expunge.errors import RecipeError, did_you_mean

STRENGTHS = {
    "random-patches": 0.75,
    "center-crop": 0.5,
    "border": 0.5,
    "downsampling": 4.0,
    "noise": 0.25,
}
"corruptions by name, with the default strength of each"

MEANINGS = {
    "random-patches": "share of the patches that is hidden",
    "center-crop": "side of the hidden square in the middle, as a share of the picture's",
    "border": "share of the side that is hidden around the visible square in the middle",
    "downsampling": "pixels averaged into one, in each direction",
    "noise": "standard deviation of the noise, 1 being the whole range of a pixel",
}

GREY = 0.5
"value of hidden pixels, for models that see them"


@dataclass(frozen=True, slots=True)
class Corruption:
    """A named corruption of pictures that are cut into square patches.

    Attributes:
        name: one of `STRENGTHS`.
        strength: see `MEANINGS`; the default one if None.
        patch: side of a patch in pixels.
    """

    name: str
    strength: float | None = None
    patch: int = 8

    def __post_init__(self) -> None:
        if self.name not in STRENGTHS:
            raise RecipeError(
                f"there is no corruption {self.name!r}",
                allowed=", ".join(STRENGTHS),
                next_step=did_you_mean(self.name, STRENGTHS),
            )
        if not (0 < self.value < 1 if self.hides else self.value > 0):
            raise RecipeError(
                f"the corruption {self.name} cannot have this strength",
                seen=f"{self.value:g}, the {MEANINGS[self.name]}",
                allowed="between 0 and 1" if self.hides else "above 0",
            )

    @property
    def value(self) -> float:
        return STRENGTHS[self.name] if self.strength is None else self.strength

    @property
    def key(self) -> list[str | float]:
        """Its name in cached results."""
        return [self.name, self.value, self.patch]

    @property
    def hides(self) -> bool:
        """Whether whole patches are hidden; otherwise every pixel is shown, altered."""
        return self.name in ("random-patches", "center-crop", "border")

    def hidden(self, keys: Tensor, side: int) -> Tensor:
        """(n, patches) bool: the hidden patches, row by row of the grid; the same number in every picture. `keys`:
        (n,).

        Raises `RecipeError` if nothing would be hidden, or nothing shown.
        """
        cells = side // self.patch
        if not self.hides:
            return torch.zeros(len(keys), cells * cells, dtype=torch.bool)
        if self.name == "random-patches":
            count = round(self.value * cells * cells)
            draws = [torch.rand(cells * cells, generator=_generator(key)) for key in keys.tolist()]
            ranks = torch.stack(draws).argsort(1).argsort(1) if draws else torch.zeros(0, cells * cells)
            mask = ranks < count
        else:
            width = round((self.value if self.name == "center-crop" else 1 - self.value) * cells)
            first = (cells - width) // 2
            inside = torch.zeros(cells, cells, dtype=torch.bool)
            inside[first : first + width, first : first + width] = True
            middle = inside if self.name == "center-crop" else ~inside
            mask = middle.flatten().expand(len(keys), -1)
            count = int(middle.sum())
        if not 0 < count < cells * cells:
            raise RecipeError(
                f"the corruption {self.name} of strength {self.value:g} hides {count} of {cells * cells} patches",
                allowed="some, and not all",
            )
        return mask

    def shown(self, pictures: Tensor, keys: Tensor, hidden: Tensor) -> Tensor:
        """(n, channels, side, side) the corrupted pictures, with pixels from 0 to 1."""
        if self.name == "downsampling":
            size = int(self.value)
            small = F.avg_pool2d(pictures, size, ceil_mode=True, count_include_pad=False)
            large = small.repeat_interleave(size, 2).repeat_interleave(size, 3)
            return large[:, :, : pictures.shape[2], : pictures.shape[3]]
        if self.name == "noise":
            drawn = [torch.randn(pictures.shape[1:], generator=_generator(key)) for key in keys.tolist()]
            noise = torch.stack(drawn).to(pictures) if drawn else torch.zeros_like(pictures)
            return (pictures + self.value * noise).clamp(0, 1)
        return torch.where(pixels_of(hidden, pictures.shape[-1], self.patch).to(pictures.device), GREY, pictures)


def pixels_of(cells: Tensor, side: int, patch: int) -> Tensor:
    """(n, 1, side, side) of (n, patches): every pixel has its patch's value."""
    across = side // patch
    grid = cells.view(len(cells), 1, across, across)
    return grid.repeat_interleave(patch, 2).repeat_interleave(patch, 3)


def draw_keys(count: int, seed: int, *names: str | int) -> Tensor:
    """(count,) keys of corruptions, of a named draw."""
    return torch.randint(1 << 62, (count,), generator=_generator(random_seed(seed, *names)))


def _generator(key: int) -> torch.Generator:
    return torch.Generator().manual_seed(key)
