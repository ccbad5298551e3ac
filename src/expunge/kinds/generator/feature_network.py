"""The network that measures pictures: features of any image model of transformers, and classes where it names some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

from expunge.core import storage
from expunge.errors import ModelError, first_line
from expunge.kinds.classifier.model import normalisation, side
from expunge.models.fit import without_bars
from expunge.models.source import ModelSource
from expunge.train.precision import found_device

BATCH = 256
LAYERS = 5
"layers that a picture is compared over, spread evenly from the first to the last; as many as Zhang et al. 2018 take"
EPSILON = 1e-10
"length below which features of a place count as none"


@dataclass(frozen=True, slots=True)
class FeatureNetwork:
    """Pictures to features (the pooled last layer) and, of a classifier, to probabilities.

    Attributes:
        name: what reports call it.
        size: pixels that pictures are brought to.
    """

    name: str
    model: nn.Module
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classifies: bool

    @property
    def class_count(self) -> int:
        model: Any = self.model
        return int(model.config.num_labels)

    @torch.no_grad()
    def measure(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """((n, width) features, (n, classes) probabilities or None) of uint8 pictures (n, 3, side, side), in main memory."""
        features, probabilities = [], []
        for part in pixels.split(BATCH):
            found, logits = self._forward(self._normalised(part))
            features.append(found.flatten(1).float().cpu())
            if logits is not None:
                probabilities.append(logits.float().softmax(-1).cpu())
        return torch.cat(features), torch.cat(probabilities) if probabilities else None

    @torch.no_grad()
    def layers(self, pixels: Tensor) -> list[Tensor] | None:
        """At most `LAYERS` maps (n, channels, places) of uint8 pictures (n, 3, side, side), in one batch, on its device.

        The hidden states of the network: places are those of the picture, or tokens, a class token being one more.
        None of a network that does not hand them out.
        """
        model: Any = self.model
        part = model.base_model_prefix if self.classifies else "vision_model"  # which models of pictures and text have
        body = getattr(model, part, model)
        states = getattr(body(self._normalised(pixels), output_hidden_states=True), "hidden_states", None)
        if not states:
            return None
        chosen = np.linspace(0, len(states) - 1, min(LAYERS, len(states))).round().astype(int)
        return [_by_place(states[number]) for number in chosen]

    def _normalised(self, pixels: Tensor) -> Tensor:
        device = next(self.model.parameters()).device
        shift, scale = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (resized(pixels.to(device).float() / 255, self.size) - shift) / scale

    def _forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        model: Any = self.model
        if not self.classifies:
            if hasattr(model, "get_image_features"):  # of a model of pictures and text, such as CLIP
                found = model.get_image_features(pixel_values=pixels)
                return found if isinstance(found, Tensor) else found.pooler_output, None
            return _pooled(model(pixel_values=pixels)), None
        body = getattr(model, model.base_model_prefix)
        return _pooled(body(pixels)), model(pixels).logits


def _by_place(state: Tensor) -> Tensor:
    """(n, channels, places) of a map (n, channels, height, width) or of tokens (n, tokens, channels)."""
    return state.flatten(2) if state.ndim == 4 else state.transpose(1, 2)


def _pooled(output: Any) -> Tensor:
    pooled: Tensor | None = getattr(output, "pooler_output", None)
    if pooled is not None:
        return pooled
    last: Tensor = output.last_hidden_state
    return last.mean((2, 3)) if last.ndim == 4 else last.mean(1)


def resized(unit: Tensor, size: int) -> Tensor:
    """Pictures (n, 3, side, side) brought to `size`: means of areas where they shrink, bilinear where they grow."""
    if unit.shape[-1] == size:
        return unit
    if unit.shape[-1] > size:
        return F.adaptive_avg_pool2d(unit, size)
    return F.interpolate(unit, size=size, mode="bilinear", align_corners=False)


def perceptual_distances(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    r"""(n,) distances of n pictures from n others by the features that one network has of them in some of its layers.

    $$ d(x, x') = \sum_l \frac{1}{P_l} \sum_p \left\| \hat{y}_{l,p} - \hat{y}'_{l,p} \right\|_2^2 $$

    with $\hat{y}_{l,p}$ the features of layer l at place p, over the channels scaled to length 1, and P_l the places. It is
    equation 1 of Zhang et al. 2018 (arXiv:1801.03924) with all weights w_l = 1, which that paper calls the network's own,
    uncalibrated distance. So it is not LPIPS, whose weights were fitted to what people find alike; nor do distances by
    different networks compare. 0 for equal features, at most 4 a layer; where one has no features and the other has, 1.

    Args:
        ours: (n, channels, places) of each layer; `theirs` the same of the other pictures.
    """
    total = torch.zeros(len(ours[0]), dtype=ours[0].dtype, device=ours[0].device)
    for a, b in zip(ours, theirs, strict=True):
        difference = F.normalize(a, dim=1, eps=EPSILON) - F.normalize(b, dim=1, eps=EPSILON)
        total = total + difference.square().sum(1).mean(1)
    return total


def load_network(source: ModelSource, name: str | None = None) -> FeatureNetwork:
    """Any image model of transformers, on the device that is found. Raises `ModelError`: it says nothing of a picture."""
    try:
        with without_bars():
            config = AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
            architectures = " ".join(config.architectures or [])
            classifies = "ForImageClassification" in architectures
            kind = AutoModelForImageClassification if classifies else AutoModel
            model = kind.from_pretrained(
                source.folder, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
            saved = storage.read_json(source.folder / "config.json")
            size = side(source.folder) or (saved.get("vision_config") or {}).get("image_size") or 224
            network = FeatureNetwork(
                name or source.name,
                model.eval().to(found_device()),
                int(size),
                *normalisation(source.folder),
                classifies,
            )
            network.measure(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    except Exception as error:  # transformers and safetensors raise nearly anything
        raise ModelError(
            f"{source.name} cannot serve as a network that measures pictures",
            seen=first_line(error),
            allowed="a folder or hub id of an image model of transformers (a classifier, CLIP, DINO, ...)",
        ) from error
    return network
