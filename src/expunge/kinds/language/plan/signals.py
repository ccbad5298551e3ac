"""Batches without values, with the signals that a method needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from expunge.errors import ExpungeError
from expunge.kinds.language.distributions import FrozenHead, Original
from expunge.kinds.language.signals.instead import InsteadReferenceNLL
from expunge.kinds.language.signals.layer_states import RetainLayerStates
from expunge.kinds.language.signals.reference_tokens import TokensSaid
from expunge.kinds.language.signals.registry import signals_of
from expunge.kinds.language.signals.retain_labels import TAIL, TOP, RetainLabels
from expunge.kinds.language.signals.signal import Labels, Signal
from expunge.train.step import Batch, SampledLabels

if TYPE_CHECKING:
    from expunge.kinds.language.plan.step import Setting


def blocks(size: int, width: int) -> Batch:
    """A batch of whole blocks, to be created inside of `fakes`."""
    ids = torch.zeros(size, width, dtype=torch.long)
    return Batch(
        ids=ids,
        labels=torch.zeros_like(ids),
        lengths=torch.full((size,), width),
        normaliser=float(size * width),
        examples=size,
        tokens=size * width,
    )


def batch_of(setting: Setting, model: PreTrainedModel, name: str) -> Batch:
    """A batch of the forget or the retain set, with labels and signals.

    A retain set is labelled with the distribution of the model itself, like text that it wrote: the largest case.

    Raises:
        NotPlannedError: a signal of another package.
    """
    size, width = setting.training.per_device_train_batch_size, setting.block_size
    signals = [each for each in signals_of(setting.method) if each.set == name]
    batch = blocks(size, width)
    # Who's Harry Potter? can label the forget set so, too.
    own = int(getattr(setting.method, "top_k", 0)) if name == "forget" else 0
    k = TOP + TAIL if any(isinstance(each, RetainLabels) for each in signals) else own
    if k:
        candidates = torch.zeros(size, width, k, dtype=torch.long)
        batch = replace(batch, soft_ids=candidates, soft_weights=torch.zeros(size, width, k))
    known = {each.name: _values(each, size, width, model) for each in signals if not isinstance(each, Labels)}
    return replace(batch, signals=known)


def _values(signal: Signal, size: int, width: int, model: PreTrainedModel) -> Any:
    rows, hidden = size * (width - 1), model.config.get_text_config().hidden_size
    if signal.name == "distributions":
        head = model.get_output_embeddings().weight
        return Original(torch.zeros(rows, hidden), FrozenHead(torch.zeros(head.shape)))
    if signal.name == "hidden_states":
        return torch.zeros(rows, hidden)
    if isinstance(signal, RetainLayerStates):
        return torch.zeros(size * width, len(signal.layers), hidden)
    if signal.name == "reference_tokens":
        k = TOP + TAIL
        return TokensSaid(
            torch.zeros(rows), SampledLabels(torch.zeros(rows, k), torch.zeros(rows, k, dtype=torch.long))
        )
    if signal.is_batch and type(signal).__module__.startswith("expunge."):  # about as long
        return blocks(size * getattr(signal, "count", 1), width)
    if isinstance(signal, InsteadReferenceNLL):
        return torch.zeros(size, signal.instead().count)
    shapes = {"example": (size,), "row": (rows,), "token": (rows,)}
    if signal.per not in shapes or not type(signal).__module__.startswith("expunge."):
        raise NotPlannedError(f"the contents of the signal {signal.name} are not known before it is computed")
    return torch.zeros(shapes[signal.per])


class NotPlannedError(ExpungeError):
    """Something that cannot be planned before a run."""
