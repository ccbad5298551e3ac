"""The pictures of a run as tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from expunge.data.images.class_order import ClassOrder, reordered
from expunge.data.images.image_set import ImageSet
from expunge.kinds.classifier.parts import ImageParts
from expunge.kinds.classifier.task import Pictures


@dataclass(frozen=True, slots=True, eq=False)
class ImageSets(ImageParts):
    """The four parts of the data, as arrays with their ids and as tensors."""

    tensors: dict[str, Pictures] = field(kw_only=True)

    @classmethod
    def of(cls, read: ImageParts) -> ImageSets:
        made = {name: tensors(part) for name, part in read.parts.items()}
        return cls(read.parts, read.classes, read.notes, read.other_order, tensors=made)

    def in_other_order(self) -> ImageSets:
        """The same pictures with labels that count the classes in the other order. Raises `ValueError`: there is
        none."""
        if self.other_order is None:
            raise ValueError("the classes have only one order")
        order = ClassOrder(
            tuple(name for _, name in sorted(zip(self.other_order, self.classes, strict=True))), self.other_order
        )
        note = f"the model answers in the order of the classes' names as text: {', '.join(order.classes[:3])}, …"
        parts = {name: reordered(part, order) for name, part in self.parts.items()}
        return ImageSets.of(ImageParts(parts, order.classes, (*self.notes, note)))


def tensors(images: ImageSet) -> Pictures:
    """Pixels as (n, 3, height, width)."""
    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images.pixels, 3, 1)))
    return Pictures(pixels=pixels, labels=torch.from_numpy(np.array(images.labels)))
