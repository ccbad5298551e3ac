"""Autoencoders as tasks: masked ones (transformers' `ViTMAEForPreTraining`), vector-quantised ones (diffusers'
`VQModel`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.task import CorruptedBatch, ImageToImage

BEGIN_WITH = 1000
"pictures whose patches initialise the last layer"


class MaskedAutoencoder(ImageToImage):
    """He et al. 2021 (arXiv:2111.06377). The encoder sees only the shown patches; fewer are faster."""

    @torch.no_grad()
    def begin(self, pictures: Pictures) -> None:
        """Initialise the last layer to draw the mean patch and its principal components, scaled by half their
        deviations.

        Errors in what varies most then weigh most from the first step on, and fine noise, which is not predictable,
        least: the same number of steps gets much further.
        """
        some = self.normalised(self.unit(pictures.pixels[:BEGIN_WITH]))
        patches = self.model.patchify(some).flatten(0, 1).cpu().double()  # not every device has float64
        values, vectors = torch.linalg.eigh(torch.cov(patches.T))
        layer = self.model.decoder.decoder_pred
        count = min(layer.weight.shape[1], len(values))
        components = vectors.flip(1)[:, :count] * (values.flip(0)[:count].clamp(min=0).sqrt() / 2)
        layer.weight.zero_()
        layer.weight[:, :count] = components.to(layer.weight)
        layer.bias.copy_(patches.mean(0))

    @property
    def encoder(self) -> nn.Module:
        return self.model.vit

    def encoder_share(self, side: int) -> float:
        """Counted as weights times tokens; attention itself is small in comparison at these lengths."""
        hidden = self.corruption.hidden(torch.zeros(1, dtype=torch.int64), side)
        encoder = _matrices(self.model.vit) * (1 + int((~hidden).sum()))
        decoder = _matrices(self.model.decoder) * (1 + hidden.shape[1])
        return encoder / (encoder + decoder)

    def features(self, shown: Tensor, hidden: Tensor) -> Tensor:
        """(batch, 1 + shown patches, width): the class token, then the shown patches row by row.

        As the network's own forward pass, but hidden patches are not embedded first.
        """
        vit = self.model.vit
        embeddings, patch = vit.embeddings, self.corruption.patch
        places = _order(hidden).argsort(1)[:, : int((~hidden[:1]).sum())]
        patches = F.unfold(shown, patch, stride=patch).transpose(1, 2)
        patches = patches.gather(1, places[:, :, None].expand(-1, -1, patches.shape[2]))
        projection = embeddings.patch_embeddings.projection
        tokens = F.linear(patches, projection.weight.flatten(1), projection.bias)
        positions = embeddings.position_embeddings
        tokens = tokens + positions[0, 1:][places]
        first = (embeddings.cls_token + positions[:, :1]).expand(len(tokens), -1, -1)
        states = torch.cat([first, tokens], 1)
        layers = (
            vit.layers if hasattr(vit, "layers") else vit.encoder.layer
        )  # as earlier versions of transformers have them
        for layer in layers:
            states = layer(states)
        return vit.layernorm(states)

    def decoded(self, features: Tensor, hidden: Tensor) -> Tensor:
        restore = _order(hidden).argsort(1).argsort(1)
        return self.model.unpatchify(self.model.decoder(features, restore).logits)


def _order(hidden: Tensor) -> Tensor:
    """(batch, patches) numbers whose order puts the shown patches first, each part row by row."""
    places = torch.arange(hidden.shape[1], device=hidden.device) / hidden.shape[1]
    return hidden.float() + 0.5 * places


def _matrices(module: nn.Module) -> int:
    """Number of weights that each token is multiplied with."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1 and parameter.shape[0] > 1)


class VqAutoencoder(ImageToImage):
    """Van den Oord et al. 2017 (arXiv:1711.00937). Hidden patches are shown grey; it draws all.

    Its features are the encoder's, before they are replaced by the nearest words of the codebook.
    """

    @property
    def encoder(self) -> nn.Module:
        return nn.ModuleList([self.model.encoder, self.model.quant_conv])

    def features(self, shown: Tensor, hidden: Tensor) -> Tensor:
        """(batch, channels, height, width) latents."""
        return self.model.encode(shown).latents

    def decoded(self, features: Tensor, hidden: Tensor) -> Tensor:
        return self.model.decode(features).sample

    def loss(self, batch: CorruptedBatch) -> Tensor:
        """The error of the hidden pixels, and how far the latents lie from the codebook (equation 3 of the paper)."""
        output = self.model.decode(self.batch_features(batch))
        return self.error(output.sample, batch) + output.commit_loss.mean()
