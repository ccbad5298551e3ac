"""A vector-quantised autoencoder (van den Oord et al. 2017, arXiv:1711.00937) as a task: diffusers' `VQModel`.

It is given a picture with grey where patches are hidden, and trained to draw the whole one.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from expunge.kinds.generator.task import CorruptedBatch, ImageToImage


class VqAutoencoder(ImageToImage):
    """The encoder's features, before they are replaced by the nearest words of the codebook."""

    @property
    def _net(self) -> Any:
        return self.model

    @property
    def encoder(self) -> nn.Module:
        return nn.ModuleList([self._net.encoder, self._net.quant_conv])

    def encoder_share(self, side: int) -> float:
        """Counted as weights: encoder and decoder go through the same resolutions."""
        encoder = sum(parameter.numel() for parameter in self.encoder.parameters())
        return encoder / sum(parameter.numel() for parameter in self.model.parameters())

    def features(self, shown: Tensor, hidden: Tensor) -> Tensor:
        """(batch, channels, height, width) latents."""
        found: Tensor = self._net.encode(shown).latents
        return found

    def decoded(self, features: Tensor, hidden: Tensor) -> Tensor:
        pictures: Tensor = self._net.decode(features).sample
        return pictures

    def loss(self, batch: CorruptedBatch) -> Tensor:
        """The error of the hidden pixels, and how far the latents lie from the codebook (equation 3 of the paper)."""
        output = self._net.decode(self.batch_features(batch))
        return self.error(output.sample, batch) + output.commit_loss.mean()
