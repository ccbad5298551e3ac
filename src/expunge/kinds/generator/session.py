"""What a method gets for a generator: the sets, keys of corruptions, the original's features, phases of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from expunge.core.processes import world
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.corruption import draw_keys
from expunge.kinds.generator.picture_noise import NoiseKind, noise_like
from expunge.kinds.generator.task import EVALUATION_BATCH, CorruptedBatch, ImageToImage
from expunge.train.callback import Hooks
from expunge.train.phase import Phase
from expunge.train.session import BACKWARD, FORWARD, Session, WithKnown

MOST_BYTES = 2 << 30
"bytes of features that are precomputed; more than that are computed batch by batch"


@dataclass(slots=True, kw_only=True)
class GeneratorWork(Session):
    """A generator to change, the sets, and the operations a method may use.

    Attributes:
        task: the generator; its `model` is changed in place.
        retain, forget: pictures to retain and to forget; the retain set may be from elsewhere.
    """

    task: ImageToImage
    retain: Pictures
    forget: Pictures

    @property
    def side(self) -> int:
        return int(self.forget.pixels.shape[-1])

    @property
    def encoder_share(self) -> float:
        """The encoder's share of the model's work."""
        return self.task.encoder_share(self.side)

    @property
    def frozen_decoder_share(self) -> float:
        """The share of a full step's work if gradients pass through the decoder and only the encoder trains."""
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

    def viewed(self, pictures: Pictures, views: int) -> Pictures:
        """All pictures, repeated once per view."""
        return pictures if views == 1 else pictures.take(torch.arange(len(pictures)).repeat(views))

    def shuffled(self, count: int, *names: str | int) -> Tensor:
        """(count,) the numbers 0 to count - 1 in a random order, drawn once."""
        return torch.randperm(count, generator=self.generator("shuffled", *names))

    def scrubbing_targets(self, retain: WithKnown, forget: WithKnown, kind: NoiseKind) -> tuple[WithKnown, WithKnown]:
        """Both sets, with their `keys`, and their target features as `target`.

        The original's features of the pictures to retain, and of noise instead of those to forget. Computed once for
        each picture and corruption, and for noise once for each corruption if the picture does not matter; left out if
        they take too much memory, and then `target_of` computes them.
        """
        pictures, keys = forget.dataset, forget.known["keys"]
        if self._too_many(forget, len(retain) + len(forget)):
            return retain, forget
        every = torch.arange(len(forget))
        first, which = _firsts(keys) if self.original.noise_stands_alone else (every, every)
        noise = self.noise_features(pictures.take(first), keys[first], kind, "target")
        target = self.original_features(retain.dataset, retain.known["keys"])
        return retain.knowing(target=target), forget.knowing(target=noise[which])

    def feature_targets(self, retain: WithKnown, forget: WithKnown) -> tuple[WithKnown, WithKnown]:
        """Both sets, with their `keys`, and with the original's features as `target`, unless they take too much
        memory."""
        if self._too_many(forget, len(retain) + len(forget)):
            return retain, forget
        targets = [self.original_features(each.dataset, each.known["keys"]) for each in (retain, forget)]
        return retain.knowing(target=targets[0]), forget.knowing(target=targets[1])

    def _too_many(self, pictures: WithKnown, count: int) -> bool:
        one = self.original.set_features(pictures.dataset.take(torch.arange(1)), pictures.known["keys"][:1])
        return bool(count * one.numel() * one.element_size() > MOST_BYTES)

    @torch.no_grad()
    def original_outputs_of(self, batch: CorruptedBatch) -> Tensor:
        """(batch, 3, side, side) the original decoder's outputs on a batch, computed now."""
        self.cost.passes += FORWARD * len(batch.rows)
        return self.original.outputs(batch)

    def noise_for(self, forget: CorruptedBatch, retain: CorruptedBatch, kind: NoiseKind) -> Tensor:
        """(forget, 3, side, side) normalised noise for the first batch, with the mean and deviation of both batches,
        drawn now.

        From the global generator, which a phase of training seeds at each step.
        """
        unit = self.task.denormalised(torch.cat([retain.pixels, forget.pixels])).cpu().float()
        noise = noise_like(unit, kind, torch.default_generator)[len(retain.rows) :]
        return self.task.normalised(noise.to(forget.pixels))

    @torch.no_grad()
    def target_of(self, batch: CorruptedBatch, kind: NoiseKind | None = None) -> Tensor:
        """The target features of a batch: its own `target`, or computed now; of noise if a kind of noise is given."""
        if batch.target is not None:
            return batch.target
        self.cost.passes += round(FORWARD * self.encoder_share * len(batch.rows))
        if kind is None:
            return self.original.batch_features(batch)
        unit = self.original.denormalised(batch.pixels)
        noise = noise_like(unit.cpu().float(), kind, self.generator("noise", "batch", int(batch.keys[0])))
        shown, hidden = self.original.scrubbed(unit, noise.to(unit), batch.keys)
        return self.original.features(shown, hidden)

    def original_features(self, pictures: Pictures, keys: Tensor) -> Tensor:
        """(n, ...) the original encoder's features of corrupted pictures: computed once, since neither changes."""
        self.cost.passes += round(FORWARD * self.encoder_share * len(pictures))
        return self.original.set_features(pictures, keys)

    @torch.no_grad()
    def noise_features(self, pictures: Pictures, keys: Tensor, kind: NoiseKind, name: str) -> Tensor:
        """(n, ...) the original encoder's features of noise, corrupted as the pictures are."""
        parts = []
        for rows, noise in self._noise(pictures, kind, name):
            unit = self.original.unit(pictures.pixels[rows])
            shown, hidden = self.original.scrubbed(unit, noise.to(unit), keys[rows])
            parts.append(self.original.features(shown, hidden).cpu())
        self.cost.passes += round(FORWARD * self.encoder_share * len(pictures))
        return torch.cat(parts)

    def noise_pictures(self, pictures: Pictures, kind: NoiseKind, name: str) -> Tensor:
        """(n, 3, side, side) uint8 noise, a picture for each."""
        return torch.cat([(noise * 255).round().to(torch.uint8) for _, noise in self._noise(pictures, kind, name)])

    @torch.no_grad()
    def original_scrubbing_loss(
        self, pictures: WithKnown, kind: NoiseKind, apart: Callable[[Tensor, Tensor], Tensor]
    ) -> float:
        """Distance of the original's features of a set from their targets."""
        total = 0.0
        for rows in torch.arange(len(pictures)).split(EVALUATION_BATCH):
            batch = self.original.batch(pictures.dataset, rows, **pictures.known)
            total += float(apart(self.original.batch_features(batch), self.target_of(batch, kind))) * len(rows)
        self.cost.passes += round(FORWARD * self.encoder_share * len(pictures))
        return total / len(pictures)

    def noise_of(self, parts: list[Tensor], name: str) -> Tensor:
        """Gaussian noise with the shape, mean and standard deviation of each of the parts, concatenated."""
        generator = self.generator("noise", name)
        drawn = (torch.randn(part.shape, generator=generator).to(part.dtype) for part in parts)
        return torch.cat([part.mean() + part.std() * noise for part, noise in zip(parts, drawn, strict=True)], 1)

    def drawn_from(self, pictures: Pictures, count: int, name: str) -> Pictures:
        """`count` of the pictures, drawn with replacement."""
        return pictures.take(torch.randint(len(pictures), (count,), generator=self.generator("drawn", name)))

    @torch.no_grad()
    def original_loss(self, pictures: Pictures, keys: Tensor) -> float:
        """Mean training loss of the original on a set."""
        batches = self.original.evaluated(pictures, keys)
        total = sum(float(self.original.loss(batch)) * len(batch.rows) for batch in batches)
        self.cost.passes += FORWARD * len(pictures)
        return total / len(pictures)

    def _noise(self, pictures: Pictures, kind: NoiseKind, name: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(rows, noise with pixels from 0 to 1), batch by batch of the set in its order."""
        for number, rows in enumerate(torch.arange(len(pictures)).split(EVALUATION_BATCH)):
            unit = pictures.pixels[rows].float() / 255
            yield rows, noise_like(unit, kind, self.generator("noise", name, number))

    def phase(self, name: str, pictures: int, epochs: float, batch_size: int, **more: object) -> Phase:
        """A phase of `epochs` epochs over this many pictures."""
        # 1.1 * 10240 is above 11264 by a rounding error, which is not worth a step
        steps = max(1, math.ceil(epochs * pictures / (batch_size * world()) - 1e-9))
        return Phase(name=name, steps=steps, batch_size=batch_size, **more)  # type: ignore[arg-type]


def _firsts(keys: Tensor) -> tuple[Tensor, Tensor]:
    """(rows that are the first with their key, in order; of every row, the index of its key among those)."""
    _, first, inverse = np.unique(keys.numpy(), return_index=True, return_inverse=True)
    order = np.argsort(first)
    return torch.from_numpy(first[order]), torch.from_numpy(np.argsort(order)[inverse.reshape(-1)])


def fit_generator(work: GeneratorWork, phase: Phase) -> None:
    """Train the whole model to undo its corruption on `work.retain`; each epoch draws new corruptions."""
    keys = work.keys(len(work.retain), phase.name, 0)

    def redraw(epoch: int) -> None:
        keys.copy_(work.keys(len(keys), phase.name, epoch))

    work.train(phase, WithKnown(work.retain, {"keys": keys}), work.task.loss, callbacks=[Hooks(on_epoch=redraw)])


def evaluation_keys(seed: int, split: str, count: int) -> Tensor:
    """(count,) keys under which a split is measured: the same for every model."""
    return draw_keys(count, seed, "evaluation", split)
