"""A diffusion model that completes pictures (Palette, Saharia et al. 2021, arXiv:2111.05826): diffusers' `UNet2DModel`.

The network is given the corrupted picture and, in further channels, the picture under noise of a certain strength, and
says what the noise is. Seven channels reach it as `shown`: three of the corrupted picture, three of the noisy one, and one
that says the step of the noise. Both the step and the noise follow from the picture's key, so that everything which holds of
other generators (features computed once, the same loss twice) holds of this one.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from expunge.kinds.generator.corruption import Corruption, pixels_of
from expunge.kinds.generator.diffusers_models import NoiseSchedule, cosine
from expunge.kinds.generator.task import CorruptedBatch, ImageToImage

DRAWING_STEPS = 20
"steps in which a picture is drawn (DDIM, Song et al. 2020, arXiv:2010.02502)"
SALT = 0x5EED
"so that the noise is not that which chose the patches"


class Palette(ImageToImage):
    """The encoder is the way down: its features are all maps that it hands to the way up, and the lowest one.

    Args:
        schedule: how strong the noise is at each step; the cosine one where none is given.
    """

    drawing_passes = DRAWING_STEPS

    def __init__(
        self,
        model: nn.Module,
        corruption: Corruption,
        *channels: tuple[float, ...],
        schedule: NoiseSchedule | None = None,
    ) -> None:
        super().__init__(model, corruption, *channels)
        self.schedule = schedule or cosine()
        self._levels = self.schedule.kept.to(self.dtype)
        self._sizes: dict[int, list[int]] = {}

    def _like(self, model: nn.Module, corruption: Corruption) -> Self:
        return type(self)(model, corruption, self.mean, self.std, schedule=self.schedule)

    @property
    def _kept(self) -> Tensor:
        """(steps,) the share of the picture that is left at each step, where the model is."""
        return self._levels.to(self.device)

    @property
    def notes(self) -> tuple[str, ...]:
        if not self.schedule.assumed:
            return ()
        return (
            "the model came without a scheduler_config.json, so the cosine schedule of noise is assumed; where it was "
            "trained with another one, it draws badly: put that scheduler's file next to its config.json",
        )

    @property
    def encoder(self) -> nn.Module:
        net = self.model
        return nn.ModuleList([net.conv_in, net.time_embedding, net.down_blocks, net.mid_block])

    def corrupted(self, unit: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        shown, hidden = super().corrupted(unit, keys)
        return self._with_noise(shown, self.normalised(unit), hidden, keys), hidden

    @property
    def noise_stands_alone(self) -> bool:
        return False

    def scrubbed(self, unit: Tensor, noise: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """The corrupted picture beside pure noise, whatever the step."""
        shown, hidden = super().corrupted(unit, keys)
        given = self._with_noise(shown, self.normalised(unit), hidden, keys)
        _, drawn = self._draws(keys, unit.shape[-1])
        return torch.cat([given[:, :3], self._inside(drawn, shown, hidden), given[:, 6:]], 1), hidden

    def _draws(self, keys: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """((n,) steps, (n, 3, side, side) Gaussian noise) of keys."""
        steps, noise = [], []
        for key in keys.tolist():
            generator = torch.Generator().manual_seed(key ^ SALT)
            steps.append(torch.randint(len(self._levels), (), generator=generator))
            noise.append(torch.randn(3, side, side, generator=generator))
        return torch.stack(steps).to(self.device), torch.stack(noise).to(self.device, self.dtype)

    def _inside(self, pictures: Tensor, shown: Tensor, hidden: Tensor) -> Tensor:
        """`pictures` where patches are hidden (everywhere where none are), what is shown elsewhere."""
        if not self.corruption.hides:
            return pictures
        return torch.where(pixels_of(hidden, shown.shape[-1], self.corruption.patch), pictures, shown)

    def _with_noise(self, shown: Tensor, pixels: Tensor, hidden: Tensor, keys: Tensor) -> Tensor:
        steps, noise = self._draws(keys, shown.shape[-1])
        level = self._kept[steps].view(-1, 1, 1, 1)
        noisy = self._inside(level.sqrt() * pixels + (1 - level).sqrt() * noise, shown, hidden)
        step = (steps.to(self.dtype) / len(self._levels)).view(-1, 1, 1, 1).expand(-1, 1, *shown.shape[2:])
        return torch.cat([shown, noisy, step], 1)

    def features(self, shown: Tensor, hidden: Tensor) -> Tensor:
        """(batch, numbers) every map of the way down, one after the other."""
        return torch.cat([each.flatten(1) for each in self._down(shown)[0]], 1)

    def maps(self, features: Tensor, side: int) -> list[Tensor]:
        """(batch, numbers of the map) each map of the way down, from the first convolution's to the lowest one."""
        if side not in self._sizes:
            with torch.no_grad():
                blank = torch.zeros(1, 7, side, side, device=self.device, dtype=self.dtype)
                self._sizes[side] = [each.numel() for each in self._down(blank)[0]]
        return list(features.split(self._sizes[side], 1))

    def _down(self, shown: Tensor) -> tuple[list[Tensor], Tensor]:
        net = self.model
        embedded = net.time_embedding(net.time_proj(self._steps(shown)).to(self.dtype))
        state = net.conv_in(shown[:, :6])
        maps = [state]
        for block in net.down_blocks:
            state, handed = block(hidden_states=state, temb=embedded)
            maps += handed
        return [*maps, net.mid_block(state, embedded)], embedded

    def decoded(self, features: Tensor, hidden: Tensor) -> Tensor:
        raise TypeError("a diffusion model draws in many steps, not from one set of features")

    def loss(self, batch: CorruptedBatch) -> Tensor:
        """The error of the predicted noise, where patches are hidden."""
        pixels = batch.pixels if batch.wanted is None else batch.wanted
        return self.error(self.outputs(batch), batch, self._noise_over(batch, pixels))

    def picture_losses(self, batch: CorruptedBatch) -> Tensor:
        """(batch,) the error of the predicted noise of each picture."""
        return self.errors(self.outputs(batch), batch, self._noise_over(batch, batch.pixels))

    def _noise_over(self, batch: CorruptedBatch, pixels: Tensor) -> Tensor:
        """The noise that lies over pictures in a batch."""
        level = self._kept[self._steps(batch.shown)].view(-1, 1, 1, 1)
        return (batch.shown[:, 3:6] - level.sqrt() * pixels) / (1 - level).sqrt()

    def outputs(self, batch: CorruptedBatch) -> Tensor:
        """(batch, 3, side, side) the noise that the model predicts, of the whole picture."""
        return self.model(batch.shown[:, :6], self._steps(batch.shown)).sample

    def drawn(self, batch: CorruptedBatch) -> Tensor:
        """Pictures drawn from noise in `DRAWING_STEPS` steps without further noise."""
        shown, state, farthest = batch.shown[:, :3], self._start(batch), self.schedule.farthest
        times = torch.linspace(len(self._levels) - 1, 0, DRAWING_STEPS).round().long().tolist()
        for time, after in zip(times, [*times[1:], -1], strict=True):
            steps = torch.full((len(shown),), time, device=self.device)
            level = self._kept[time]
            next_ = self._kept[after] if after >= 0 else torch.ones_like(level)
            predicted = self.model(torch.cat([shown, state], 1), steps).sample
            clean = ((state - (1 - level).sqrt() * predicted) / level.sqrt()).clamp(-farthest, farthest)
            state = self._inside(next_.sqrt() * clean + (1 - next_).sqrt() * predicted, shown, batch.hidden)
        return state

    def _start(self, batch: CorruptedBatch) -> Tensor:
        """Noise that depends on the picture's place in its set alone."""
        side = batch.shown.shape[-1]
        noise = [
            torch.randn(3, side, side, generator=torch.Generator().manual_seed(SALT + r)) for r in batch.rows.tolist()
        ]
        return self._inside(torch.stack(noise).to(self.device, self.dtype), batch.shown[:, :3], batch.hidden)

    def _steps(self, shown: Tensor) -> Tensor:
        return (shown[:, 6, 0, 0] * len(self._levels)).round().long()
