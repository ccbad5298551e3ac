"""What a method works with on a generator: the sets, keys of corruptions, the original's features, phases of training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from expunge.data.order import random_seed
from expunge.engine.phases import BACKWARD, FORWARD, Phases
from expunge.tasks.image_classifier import Pictures
from expunge.tasks.image_to_image import EVALUATION_BATCH, CorruptedBatch, ImageToImage
from expunge.tasks.phase import Phase

NoiseKind = Literal["normal", "uniform", "constant"]


@dataclass(slots=True, kw_only=True)
class GeneratorWork(Phases):
    """A generator to change, the sets, and what a method may do with them.

    Attributes:
        task: the generator; its `model` is changed in place.
        retain, forget: pictures to keep and to forget; a retain set from elsewhere serves as well.
    """

    task: ImageToImage
    retain: Pictures
    forget: Pictures

    @property
    def original(self) -> ImageToImage:
        """The model as it was, frozen and in evaluation mode."""
        found: ImageToImage = self._original
        return found

    @property
    def side(self) -> int:
        return int(self.forget.pixels.shape[-1])

    @property
    def encoder_share(self) -> float:
        """What part of the model's work is the encoder's."""
        return self.task.encoder_share(self.side)

    @property
    def frozen_decoder_share(self) -> float:
        """What part of a full step is made where gradients pass through the decoder, and only the encoder trains."""
        return self.encoder_share + (1 - self.encoder_share) * (FORWARD + BACKWARD - 1) / (FORWARD + BACKWARD)

    def encoder(self) -> list[nn.Parameter]:
        """The encoder's trainable weights."""
        return [parameter for parameter in self.task.encoder.parameters() if parameter.requires_grad]

    def keys(self, count: int, *names: str | int) -> Tensor:
        """(count,) keys of corruptions, of a named draw."""
        return torch.randint(1 << 62, (count,), generator=self.generator("keys", *names))

    def part(self, pictures: Pictures, count: int | None, name: str) -> Pictures:
        """At most `count` of the pictures, drawn once."""
        if count is None or count >= len(pictures):
            return pictures
        chosen = torch.randperm(len(pictures), generator=self.generator("part", name))[:count]
        return pictures.take(chosen.sort().values)

    def repeated(self, count: int, times: int) -> Tensor:
        """(times * count,) rows 0 to count - 1, again and again."""
        return torch.arange(count).repeat(times)

    def original_features(self, pictures: Pictures, keys: Tensor) -> Tensor:
        """(n, ...) the original encoder's features of corrupted pictures: computed once, since neither changes."""
        self.cost.passes += round(FORWARD * self.encoder_share * len(pictures))
        return self.original.set_features(pictures, keys)

    @torch.no_grad()
    def noise_features(self, pictures: Pictures, keys: Tensor, kind: NoiseKind, name: str) -> Tensor:
        """(n, ...) the original encoder's features of noise, corrupted as the pictures are."""
        parts = []
        for rows, noise in self._noise(pictures, kind, name):
            shown, hidden = self.original.corrupted(noise.to(self.task.device, self.task.dtype), keys[rows])
            parts.append(self.original.features(shown, hidden).cpu())
        self.cost.passes += round(FORWARD * self.encoder_share * len(pictures))
        return torch.cat(parts)

    def noise_pictures(self, pictures: Pictures, kind: NoiseKind, name: str) -> Tensor:
        """(n, 3, side, side) uint8 noise, a picture for each."""
        return torch.cat([(noise * 255).round().to(torch.uint8) for _, noise in self._noise(pictures, kind, name)])

    def noise_of(self, features: Tensor, name: str) -> Tensor:
        """Gaussian noise with the shape, mean and standard deviation of features."""
        drawn = torch.randn(features.shape, generator=self.generator("noise", name))
        return features.mean() + features.std() * drawn.to(features.dtype)

    def drawn_from(self, pictures: Pictures, count: int, name: str) -> Pictures:
        """`count` of the pictures, drawn with replacement."""
        return pictures.take(torch.randint(len(pictures), (count,), generator=self.generator("drawn", name)))

    @torch.no_grad()
    def original_loss(self, pictures: Pictures, keys: Tensor) -> float:
        """Mean training loss of the original on a set."""
        original = self.original
        total = sum(
            float(original.loss(batch)) * len(batch.rows)
            for batch in original.evaluated(pictures, keys, EVALUATION_BATCH)
        )
        self.cost.passes += FORWARD * len(pictures)
        return total / len(pictures)

    def _noise(self, pictures: Pictures, kind: NoiseKind, name: str) -> list[tuple[Tensor, Tensor]]:
        """(rows, noise with pixels from 0 to 1), batch by batch of the set in its order."""
        found = []
        for number, rows in enumerate(torch.arange(len(pictures)).split(EVALUATION_BATCH)):
            unit = pictures.pixels[rows].float() / 255
            found.append((rows, noise_like(unit, kind, self.generator("noise", name, number))))
        return found

    def phase(self, name: str, kept: Pictures, lost: Pictures, epochs: float, batch_size: int, **more: object) -> Phase:
        """A phase over both sets side by side; an epoch goes once through the larger one."""
        steps = max(1, math.ceil(epochs * max(len(kept), len(lost)) / batch_size))
        return Phase(name=name, steps=steps, batch_size=batch_size, **more)  # type: ignore[arg-type]


def noise_like(unit: Tensor, kind: NoiseKind, generator: torch.Generator) -> Tensor:
    """Noise with a batch's own mean and standard deviation, each over all its pixels, cut off at 0 and 1.

    normal: independent pixels; uniform: from mean - sqrt(3) std to mean + sqrt(3) std; constant: the mean everywhere.
    """
    mean, std = unit.mean(), unit.std()
    if kind == "constant":
        return mean.expand(unit.shape).clone()
    if kind == "uniform":
        drawn = (2 * torch.rand(unit.shape, generator=generator) - 1) * math.sqrt(3)
    else:
        drawn = torch.randn(unit.shape, generator=generator)
    return (mean + std * drawn).clamp(0, 1)


def fit_generator(work: GeneratorWork, phase: Phase) -> None:
    """Train the whole model to undo its corruption on `work.retain`; each epoch corrupts every picture anew."""
    keys = work.keys(len(work.retain), phase.name, 0)

    def corrupt_anew(epoch: int) -> None:
        keys.copy_(work.keys(len(keys), phase.name, epoch))

    def loss(batch: CorruptedBatch) -> Tensor:
        return work.task.loss(batch)

    work.train(phase, work.retain, loss, known={"keys": keys}, before_epoch=corrupt_anew)


def evaluation_keys(seed: int, split: str, count: int) -> Tensor:
    """(count,) keys under which a split is measured: the same for every model."""
    generator = torch.Generator().manual_seed(random_seed(seed, "evaluation", split))
    return torch.randint(1 << 62, (count,), generator=generator)
