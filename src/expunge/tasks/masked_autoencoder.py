"""A masked autoencoder (He et al. 2021, arXiv:2111.06377) as a task: transformers' `ViTMAEForPreTraining`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from expunge.tasks.image_to_image import ImageToImage


class MaskedAutoencoder(ImageToImage):
    """The encoder sees the shown patches alone, and is the faster the fewer there are."""

    @property
    def encoder(self) -> nn.Module:
        part: nn.Module = self._net.vit
        return part

    @property
    def _net(self) -> Any:
        return self.model

    def encoder_share(self, side: int) -> float:
        """Counted as weights times tokens; attention itself is small beside it at these lengths."""
        hidden = self.corruption.hidden(torch.zeros(1, dtype=torch.int64), side)
        encoder = _matrices(self._net.vit) * (1 + int((~hidden).sum()))
        decoder = _matrices(self._net.decoder) * (1 + hidden.shape[1])
        return encoder / (encoder + decoder)

    def features(self, shown: Tensor, hidden: Tensor) -> Tensor:
        """(batch, 1 + shown patches, width): the class token, then the shown patches row by row."""
        with self._showing(hidden):
            found: Tensor = self._net.vit(pixel_values=shown, noise=_order(hidden)).last_hidden_state
        return found

    def decoded(self, features: Tensor, hidden: Tensor) -> Tensor:
        restore = _order(hidden).argsort(1).argsort(1)
        patches = self._net.decoder(features, restore).logits
        pictures: Tensor = self._net.unpatchify(patches)
        return pictures

    @contextmanager
    def _showing(self, hidden: Tensor) -> Iterator[None]:
        """Have the network keep as many patches as are shown: its own share is for random patches alone."""
        config = self._net.config
        usual = config.mask_ratio
        shown = int((~hidden[:1]).sum())
        config.mask_ratio = 1 - (shown + 0.5) / hidden.shape[1]  # half a patch more, so that rounding loses none
        if shown == hidden.shape[1]:
            config.mask_ratio = 0.0
        try:
            yield
        finally:
            config.mask_ratio = usual


def _order(hidden: Tensor) -> Tensor:
    """(batch, patches) numbers whose order puts the shown patches first, each part row by row."""
    places = torch.arange(hidden.shape[1], device=hidden.device) / hidden.shape[1]
    return hidden.float() + 0.5 * places


def _matrices(module: nn.Module) -> int:
    """Weights that each token is multiplied with."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1 and parameter.shape[0] > 1)
