"""An image classifier as a task: pictures as tensors, losses over images, outputs of whole sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from expunge.ops.layers import head
from expunge.train.step import Rows, SampledLabels

EVALUATION_BATCH = 256
"images in a batch without gradients"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Images in memory, with their labels.

    Attributes:
        pixels: (n, 3, height, width) uint8.
        labels: (n,) int64 class indices.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor) -> Pictures:
        return Pictures(pixels=self.pixels[rows], labels=self.labels[rows])

    def joined(self, other: Pictures) -> Pictures:
        """These pictures, then the other ones."""
        return Pictures(pixels=torch.cat([self.pixels, other.pixels]), labels=torch.cat([self.labels, other.labels]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBatch:
    """Pictures as the model sees them.

    Attributes:
        pixels: (batch, 3, height, width) float, normalised.
        labels: (batch,) class indices.
        rows: (batch,) row numbers in their set, to look up precomputed signals.
        soft_weights: (batch, classes) target probabilities instead of `labels`.
        signals: name -> (batch,) precomputed signals of these pictures, if the method needs them.
    """

    pixels: Tensor
    labels: Tensor
    rows: Tensor
    soft_weights: Tensor | None = None
    signals: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def examples(self) -> int:
        return len(self.labels)

    normaliser = examples


class ImageClassifier:
    """A classifier of `transformers` (or any module that maps pixels to logits), as methods and measures use it.

    Args:
        model: called with (batch, 3, height, width) float pixels; returns logits or an object with `.logits`.
        mean, std: of each colour channel, in units of the full range of a pixel (0 to 1).
    """

    def __init__(
        self, model: nn.Module, mean: tuple[float, ...] = (0.5, 0.5, 0.5), std: tuple[float, ...] = (0.5, 0.5, 0.5)
    ) -> None:
        self.model = model
        self.mean, self.std = mean, std
        self.dtype = next(model.parameters()).dtype
        self._shift = (255 * torch.tensor(mean, dtype=self.dtype)).view(1, -1, 1, 1)
        self._scale = (255 * torch.tensor(std, dtype=self.dtype)).view(1, -1, 1, 1)

    @property
    def device(self) -> torch.device:
        """The model's device; batches and outputs are there, too. Sets of pictures stay in main memory."""
        return next(self.model.parameters()).device

    def twin(self, model: nn.Module) -> ImageClassifier:
        """The same task with another model."""
        return ImageClassifier(model, self.mean, self.std)

    def normalised(self, pixels: Tensor) -> Tensor:
        """uint8 pixels (n, 3, height, width) as the model's input."""
        pixels = pixels.to(self.device, self.dtype)
        return (pixels - self._shift.to(pixels.device)) / self._scale.to(pixels.device)

    def batch(self, pictures: Pictures, rows: Tensor, **known: Tensor | None) -> ImageBatch:
        """The pictures at `rows`; `known` are `soft_weights` and signals of the whole set, looked up here."""
        signals: dict[str, Tensor] = {
            name: value[rows.to(value.device)].to(self.device) for name, value in known.items() if value is not None
        }
        return ImageBatch(
            pixels=self.normalised(pictures.pixels[rows]),
            labels=pictures.labels[rows].to(self.device),
            rows=rows,
            soft_weights=signals.pop("soft_weights", None),
            signals=signals,
        )

    def logits_of(self, pixels: Tensor) -> Tensor:
        """(batch, classes) for normalised pixels."""
        # With the channels innermost, convolutions and pooling on a CPU are faster; weights do not change.
        output = self.model(pixels.contiguous(memory_format=torch.channels_last))
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits

    def rows(self, batch: ImageBatch) -> Rows:
        return Rows(
            logits=self.logits_of(batch.pixels),
            target=batch.labels,
            example=torch.arange(len(batch.labels), device=self.device),
            said=None if batch.soft_weights is None else SampledLabels(batch.soft_weights),
        )

    def row_values_and_truth(
        self, batch: ImageBatch, of: Callable[[Tensor, Tensor | None, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """((batch,) of each picture's log-probabilities and the original's, over all classes; summed -log p(label))."""
        said = None if batch.soft_weights is None else batch.soft_weights.log()
        log_p = self.logits_of(batch.pixels).log_softmax(-1)
        return of(log_p, said, batch.labels), -log_p.detach().gather(1, batch.labels[:, None]).sum()

    def example_nll(self, batch: ImageBatch) -> Tensor:
        """(batch,) -log p(label | image); against the soft target if the batch has one."""
        logits = self.logits_of(batch.pixels)
        target = batch.labels if batch.soft_weights is None else batch.soft_weights
        return F.cross_entropy(logits, target, reduction="none")

    row_nll = example_nll  # every picture is one row

    def example_rows(self, batch: ImageBatch) -> Tensor:
        return torch.ones(len(batch.labels), device=self.device)

    def nll(self, batch: ImageBatch, ceiling: float | Tensor | None = None) -> Tensor:
        return self.nll_and_truth(batch, ceiling)[0]

    def nll_and_truth(self, batch: ImageBatch, ceiling: float | Tensor | None = None) -> tuple[Tensor, Tensor]:
        losses = self.example_nll(batch)
        return (losses if ceiling is None else losses.clamp(max=ceiling)).mean(), losses.detach().sum()

    @torch.no_grad()
    def outputs(self, pictures: Pictures) -> Tensor:
        """(n, classes) logits of a set in evaluation mode, on the model's device; the model's mode is restored."""
        mode = self.model.training
        self.model.eval()
        try:
            every = pictures.pixels.split(EVALUATION_BATCH) if len(pictures) else ()
            parts = [self.logits_of(self.normalised(pixels)).float() for pixels in every]
        finally:
            self.model.train(mode)
        return torch.cat(parts) if parts else torch.empty(0, 0)

    def features(self, pictures: Pictures) -> Tensor:
        """(n, width) inputs of the last linear layer on a set, in evaluation mode. Raises `ModelError`: there is
        none."""
        seen: list[Tensor] = []
        hook = head(self.model).register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1).float()))
        try:
            self.outputs(pictures)
        finally:
            hook.remove()
        return torch.cat(seen) if seen else torch.empty(0, 0)
