"""A generator as a task: an encoder that reads a corrupted picture, and a decoder that draws the whole one.

Methods and measures see features, completions and losses; each kind of model implements them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.corruption import Corruption, pixels_of

EVALUATION_BATCH = 128
"pictures in a batch without gradients"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptedBatch:
    """Pictures and their corrupted versions.

    Attributes:
        pixels: (batch, 3, side, side) the originals, normalised.
        shown: (batch, 3, side, side) the corrupted ones, normalised.
        hidden: (batch, patches) which patches are hidden.
        rows: (batch,) row numbers in their set.
        keys: (batch,) keys of their corruptions.
        target: (batch, ...) target features, if the method precomputed them.
        wanted: (batch, 3, side, side) targets instead of the originals, normalised.
    """

    pixels: Tensor
    shown: Tensor
    hidden: Tensor
    rows: Tensor
    keys: Tensor
    target: Tensor | None = None
    wanted: Tensor | None = None


class ImageToImage(ABC):
    """A generator with the corruption that it undoes.

    Args:
        model: the network, an `nn.Module`; changed in place by what trains it.
        mean, std: of each colour channel, in units of the full range of a pixel (0 to 1).

    Attributes:
        drawing_passes: forward passes per drawn picture.
    """

    drawing_passes: ClassVar[int] = 1

    def __init__(
        self,
        model: Any,
        corruption: Corruption,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.5, 0.5, 0.5),
    ) -> None:
        self.model, self.corruption = model, corruption
        self.mean, self.std = mean, std
        self.dtype = next(model.parameters()).dtype
        self._shift = torch.tensor(mean, dtype=self.dtype).view(1, -1, 1, 1)
        self._scale = torch.tensor(std, dtype=self.dtype).view(1, -1, 1, 1)

    @property
    def device(self) -> torch.device:
        """The model's device; batches are moved there. Whole sets of pictures stay in main memory."""
        return next(self.model.parameters()).device

    def twin(self, model: nn.Module) -> Self:
        """The same task with another model."""
        return self._like(model, self.corruption)

    def under(self, corruption: Corruption) -> Self:
        """The same model with another corruption to undo."""
        return self._like(self.model, corruption)

    def _like(self, model: nn.Module, corruption: Corruption) -> Self:
        return type(self)(model, corruption, self.mean, self.std)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the report on how the model was read."""
        return ()

    def begin(self, pictures: Pictures) -> None:  # noqa: B027 - most models need nothing
        """Fit what can be fitted to the pictures before training from random weights."""

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """The part that reads the corrupted picture."""

    def encoder_share(self, side: int) -> float:
        """The encoder's share of the multiplications of a forward pass.

        Counted as weights: in most models encoder and decoder go through the same resolutions.
        """
        encoder = sum(parameter.numel() for parameter in self.encoder.parameters())
        return encoder / sum(parameter.numel() for parameter in self.model.parameters())

    @abstractmethod
    def features(self, shown: Tensor, hidden: Tensor) -> Tensor:
        """(batch, ...) the encoder's features of normalised corrupted pictures."""

    @abstractmethod
    def decoded(self, features: Tensor, hidden: Tensor) -> Tensor:
        """(batch, 3, side, side) whole pictures, normalised, as the decoder draws them from features."""

    def unit(self, pixels: Tensor) -> Tensor:
        """uint8 pixels as numbers from 0 to 1."""
        return pixels.to(self.device, self.dtype) / 255

    def normalised(self, unit: Tensor) -> Tensor:
        """Pixels from 0 to 1 as the model wants them."""
        return (unit - self._shift.to(unit.device)) / self._scale.to(unit.device)

    def denormalised(self, pixels: Tensor) -> Tensor:
        """Normalised pixels as numbers from 0 to 1."""
        return pixels * self._scale.to(pixels.device) + self._shift.to(pixels.device)

    def corrupted(self, unit: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(shown, hidden) of pictures with pixels from 0 to 1: normalised, and which patches are hidden."""
        hidden = self.corruption.hidden(keys, unit.shape[-1])
        return self.normalised(self.corruption.shown(unit, keys, hidden)), hidden.to(self.device)

    @property
    def noise_stands_alone(self) -> bool:
        """Whether `scrubbed` depends on the noise and the keys alone, and not on the pictures."""
        return True

    def scrubbed(self, unit: Tensor, noise: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(shown, hidden) of the noise that takes the place of pictures to forget, corrupted as they are."""
        return self.corrupted(noise, keys)

    def batch(
        self,
        pictures: Pictures,
        rows: Tensor,
        *,
        keys: Tensor,
        target: Tensor | None = None,
        wanted: Tensor | None = None,
    ) -> CorruptedBatch:
        """The pictures at `rows`, corrupted. Given for the whole set and looked up here: `keys` (n,) of corruptions,
        features `target` (n, ...), and uint8 pictures `wanted` (n, 3, side, side)."""
        unit = self.unit(pictures.pixels[rows])
        shown, hidden = self.corrupted(unit, keys[rows])
        return CorruptedBatch(
            pixels=self.normalised(unit),
            shown=shown,
            hidden=hidden,
            rows=rows,
            keys=keys[rows],
            target=None if target is None else target[rows].to(self.device),
            wanted=None if wanted is None else self.normalised(self.unit(wanted[rows])),
        )

    def batch_features(self, batch: CorruptedBatch) -> Tensor:
        return self.features(batch.shown, batch.hidden)

    def features_of(self, *batches: CorruptedBatch) -> list[Tensor]:
        """Features of several batches from one pass, which is faster than one pass each."""
        together = self.features(torch.cat([b.shown for b in batches]), torch.cat([b.hidden for b in batches]))
        return list(together.split([len(b.rows) for b in batches]))

    def maps(self, features: Tensor, side: int) -> list[Tensor]:
        """Features of pictures of `side` pixels, map by map; most models have one."""
        return [features]

    def outputs(self, batch: CorruptedBatch) -> Tensor:
        """(batch, 3, side, side) the decoder's output: whole pictures, normalised."""
        return self.decoded(self.batch_features(batch), batch.hidden)

    def loss(self, batch: CorruptedBatch) -> Tensor:
        """Mean squared error of the normalised pixels that were hidden (of all if none were), as in training.

        Against the pictures themselves, or `batch.wanted` if given.
        """
        return self.error(self.outputs(batch), batch)

    def error(self, drawn: Tensor, batch: CorruptedBatch, truth: Tensor | None = None) -> Tensor:
        """Mean squared difference of what was drawn from what is wanted (or from `truth`), over the pixels that
        count."""
        if truth is None:
            truth = batch.pixels if batch.wanted is None else batch.wanted
        error = (drawn - truth) ** 2
        if not self.corruption.hides:
            return error.mean()
        weight = pixels_of(batch.hidden, error.shape[-1], self.corruption.patch).to(error)
        return (error * weight).sum() / (weight.sum() * error.shape[1])

    def picture_losses(self, batch: CorruptedBatch) -> Tensor:
        """(batch,) `loss` of each picture alone, without the codebook term."""
        return self.errors(self.outputs(batch), batch, batch.pixels)

    def errors(self, drawn: Tensor, batch: CorruptedBatch, truth: Tensor) -> Tensor:
        """(batch,) mean squared difference of what was drawn from the truth, over each picture's pixels that count."""
        error = (drawn - truth) ** 2
        if not self.corruption.hides:
            return error.flatten(1).mean(1)
        weight = pixels_of(batch.hidden, error.shape[-1], self.corruption.patch).to(error)
        return (error * weight).flatten(1).sum(1) / (weight.flatten(1).sum(1) * error.shape[1])

    def drawn(self, batch: CorruptedBatch) -> Tensor:
        """(batch, 3, side, side) whole pictures, normalised, as the model draws them."""
        return self.outputs(batch)

    def completed(self, drawn: Tensor, shown: Tensor, hidden: Tensor) -> Tensor:
        """(batch, 3, side, side) uint8: completions: drawn where patches were hidden, the shown picture elsewhere."""
        if self.corruption.hides:
            drawn = torch.where(pixels_of(hidden, drawn.shape[-1], self.corruption.patch), drawn, shown[:, :3])
        unit = self.denormalised(drawn).nan_to_num(0.5).clamp(0, 1)
        return (unit * 255).round().to(torch.uint8).cpu()

    @torch.no_grad()
    def completions(self, pictures: Pictures, keys: Tensor) -> Tensor:
        """(n, 3, side, side) uint8 completions of a set, the model in evaluation mode."""
        batches = self.evaluated(pictures, keys)
        parts = [self.completed(self.drawn(batch), batch.shown, batch.hidden) for batch in batches]
        return torch.cat(parts) if parts else torch.empty(0, *pictures.pixels.shape[1:], dtype=torch.uint8)

    @torch.no_grad()
    def set_features(self, pictures: Pictures, keys: Tensor) -> Tensor:
        """(n, ...) features of a set, the model in evaluation mode."""
        parts = [self.batch_features(batch).cpu() for batch in self.evaluated(pictures, keys)]
        return torch.cat(parts) if parts else torch.empty(0, 0)

    def evaluated(self, pictures: Pictures, keys: Tensor) -> Iterator[CorruptedBatch]:
        """Batches of a set in its order; the model is in evaluation mode meanwhile."""
        mode = self.model.training
        self.model.eval()
        try:
            for rows in torch.arange(len(pictures)).split(EVALUATION_BATCH) if len(pictures) else ():
                yield self.batch(pictures, rows, keys=keys)
        finally:
            self.model.train(mode)
