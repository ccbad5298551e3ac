"""A diffusion model that completes pictures (Palette, Saharia et al. 2021, arXiv:2111.05826): diffusers' `UNet2DModel`.

The network is given the corrupted picture and, in further channels, the picture under noise of a certain strength, and
says what the noise is. Seven channels reach it as `shown`: three of the corrupted picture, three of the noisy one, and one
that says the step of the noise. Both the step and the noise follow from the picture's key, so that everything which holds of
other generators (features computed once, the same loss twice) holds of this one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from expunge.tasks.corruption import pixels_of
from expunge.tasks.image_to_image import CorruptedBatch, ImageToImage

STEPS = 1000
"strengths of the noise in training"
DRAWING_STEPS = 20
"steps in which a picture is drawn (DDIM, Song et al. 2020, arXiv:2010.02502)"
SALT = 0x5EED
"so that the noise is not that which chose the patches"


class Palette(ImageToImage):
    """The encoder is the way down: its features are all maps that it hands to the way up, and the lowest one."""

    @property
    def _net(self) -> Any:
        return self.model

    @property
    def encoder(self) -> nn.Module:
        net = self._net
        return nn.ModuleList([net.conv_in, net.time_embedding, net.down_blocks, net.mid_block])

    def encoder_share(self, side: int) -> float:
        """Counted as weights: both ways go through the same resolutions."""
        encoder = sum(parameter.numel() for parameter in self.encoder.parameters())
        return encoder / sum(parameter.numel() for parameter in self.model.parameters())

    def corrupted(self, unit: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        shown, hidden = super().corrupted(unit, keys)
        return self._with_noise(shown, self.normalised(unit), hidden, keys), hidden

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
            steps.append(torch.randint(STEPS, (), generator=generator))
            noise.append(torch.randn(3, side, side, generator=generator))
        return torch.stack(steps).to(self.device), torch.stack(noise).to(self.device, self.dtype)

    def _inside(self, pictures: Tensor, shown: Tensor, hidden: Tensor) -> Tensor:
        """`pictures` where patches are hidden (everywhere where none are), what is shown elsewhere."""
        if not self.corruption.hides:
            return pictures
        return torch.where(pixels_of(hidden, shown.shape[-1], self.corruption.patch), pictures, shown)

    def _with_noise(self, shown: Tensor, pixels: Tensor, hidden: Tensor, keys: Tensor) -> Tensor:
        steps, noise = self._draws(keys, shown.shape[-1])
        level = kept_share(steps).to(self.dtype).view(-1, 1, 1, 1)
        noisy = self._inside(level.sqrt() * pixels + (1 - level).sqrt() * noise, shown, hidden)
        step = (steps.to(self.dtype) / STEPS).view(-1, 1, 1, 1).expand(-1, 1, *shown.shape[2:])
        return torch.cat([shown, noisy, step], 1)

    def features(self, shown: Tensor, hidden: Tensor) -> Tensor:
        """(batch, numbers) every map of the way down, one after the other."""
        return torch.cat([each.flatten(1) for each in self._down(shown)[0]], 1)

    def _down(self, shown: Tensor) -> tuple[list[Tensor], Tensor]:
        net = self._net
        embedded = net.time_embedding(net.time_proj(_steps(shown)).to(self.dtype))
        state = net.conv_in(shown[:, :6])
        maps = [state]
        for block in net.down_blocks:
            state, handed = block(hidden_states=state, temb=embedded)
            maps += handed
        return [*maps, net.mid_block(state, embedded)], embedded

    def decoded(self, features: Tensor, hidden: Tensor) -> Tensor:
        raise TypeError("a diffusion model draws in many steps, not from one set of features")

    def loss(self, batch: CorruptedBatch) -> Tensor:
        """The error of the noise that is told, where patches are hidden."""
        level = kept_share(_steps(batch.shown)).to(self.dtype).view(-1, 1, 1, 1)
        pixels = batch.pixels if batch.wanted is None else batch.wanted
        noise = (batch.shown[:, 3:6] - level.sqrt() * pixels) / (1 - level).sqrt()
        told = self._net(batch.shown[:, :6], _steps(batch.shown)).sample
        return self.error(told, batch, noise)

    def drawn(self, batch: CorruptedBatch) -> Tensor:
        """Pictures drawn from noise in `DRAWING_STEPS` steps without further noise."""
        shown, state = batch.shown[:, :3], self._start(batch)
        times = torch.linspace(STEPS - 1, 0, DRAWING_STEPS).round().long().tolist()
        for time, after in zip(times, [*times[1:], -1], strict=True):
            steps = torch.full((len(shown),), time, device=self.device)
            level = kept_share(steps[:1]).to(self.dtype)
            next_ = kept_share(steps[:1] * 0 + after).to(self.dtype) if after >= 0 else torch.ones_like(level)
            told = self._net(torch.cat([shown, state], 1), steps).sample
            clean = ((state - (1 - level).sqrt() * told) / level.sqrt()).clamp(-3, 3)
            state = self._inside(next_.sqrt() * clean + (1 - next_).sqrt() * told, shown, batch.hidden)
        return state

    def _start(self, batch: CorruptedBatch) -> Tensor:
        """Noise that depends on the picture's place in its set alone."""
        side = batch.shown.shape[-1]
        noise = [
            torch.randn(3, side, side, generator=torch.Generator().manual_seed(SALT + r)) for r in batch.rows.tolist()
        ]
        return self._inside(torch.stack(noise).to(self.device, self.dtype), batch.shown[:, :3], batch.hidden)


def _steps(shown: Tensor) -> Tensor:
    return (shown[:, 6, 0, 0] * STEPS).round().long()


def kept_share(steps: Tensor) -> Tensor:
    """Share of the picture's variance that is left at a step: the cosine schedule (Nichol and Dhariwal 2021, equation 17)."""
    share = torch.cos(((steps.double() + 1) / STEPS + 0.008) / 1.008 * torch.pi / 2) ** 2
    return (share / torch.cos(torch.tensor(0.008 / 1.008 * torch.pi / 2, dtype=torch.float64)) ** 2).clamp(1e-3, 0.9999)
