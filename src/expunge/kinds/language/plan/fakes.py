"""A language model whose tensors have shapes and no values, so that a step on it costs no memory and little time."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel, masking_utils
from transformers.initialization import no_init_weights
from transformers.integrations import moe

from expunge.kinds.language.distributions import Head
from expunge.kinds.language.lora import Adapter, inject
from expunge.kinds.language.task import CausalLM
from expunge.models.fit import quiet
from expunge.models.language_kind import LanguageKind


class _AllLabelled(TorchFunctionMode):
    """Answers questions that depend on values: every token of a block but its first is labelled, and only identical
    tensors are equal.

    Args:
        width: tokens in a block.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def _rows(self, mask: Tensor) -> int:
        inside = self.width - 1 if mask.shape[-1] == self.width else mask.shape[-1]
        return mask.shape[:-1].numel() * inside

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__getitem__ and _is_mask(args[1]):
            tensor, mask = args
            chosen = torch.zeros(self._rows(mask), dtype=torch.long)
            return tensor.reshape(-1, *tensor.shape[mask.dim() :]).index_select(0, chosen)
        if func in (Tensor.nonzero, torch.nonzero) and _is_mask(args[0]):
            return torch.zeros(self._rows(args[0]), args[0].dim(), dtype=torch.long)
        if func in (torch.equal, Tensor.equal):
            return _same_storage(args[0], args[1])
        return func(*args, **(kwargs or {}))


def _is_mask(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bool and value.dim() > 0


def _same_storage(one: Tensor, other: Tensor) -> bool:
    return bool(one.untyped_storage()._cdata == other.untyped_storage()._cdata)


@contextmanager
def fakes(width: int) -> Iterator[None]:
    """Context in which tensors have no values. Blocks have `width` tokens, one text each, and all but the first are
    labelled."""
    # Only values show that a row holds one text; without them transformers would make a mask, which runs do not have.
    one_text = patch.object(masking_utils, "find_packed_sequence_indices", lambda position_ids: None)
    # torch's product by experts has no shapes for float32; that of transformers has, and gives tensors of the same
    # sizes.
    experts = patch.object(moe, "_can_use_grouped_mm", lambda *_: False)
    # It logs errors that are raised anyway.
    logs = patch.object(logging.getLogger("torch._subclasses.fake_tensor"), "disabled", True)
    with one_text, experts, logs, FakeTensorMode(allow_non_fake_inputs=True), _AllLabelled(width):
        yield


def build(kind: LanguageKind, dtype: torch.dtype, layers: int | None = None) -> PreTrainedModel:
    """The model of a configuration, optionally only its first layers; to be called inside of `fakes`."""
    with quiet(), no_init_weights():
        model: PreTrainedModel = kind.loader.from_config(with_layers(kind.config, layers), dtype=dtype)
    model.tie_weights()
    return model.eval()


def with_layers(config: Any, layers: int | None) -> Any:
    """The configuration of a model with `count` of the text tower's layers; lists of one value a layer are cut."""
    config = copy.deepcopy(config)
    if layers is None:
        return config
    text = config.get_text_config(decoder=True)
    whole = text.num_hidden_layers
    for name, value in list(vars(text).items()):
        if isinstance(value, list | tuple) and len(value) == whole:
            setattr(text, name, value[:layers])
    text.num_hidden_layers = layers
    return config


class FakeLM(CausalLM):
    """A model without values, as methods use it. It has no tokenizer, and never packs short texts together."""

    def __init__(
        self, model: PreTrainedModel, autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self.model, self.autocast, self.packs = model, autocast, False
        self.notices, self.stored = [], None
        self.plain_head = _head_is_plain(model)

    @cached_property
    def head(self) -> Head:
        return _UntriedHead(self.model)


class _UntriedHead(Head):
    """An output layer that is not tested with numbers."""

    def _check(self) -> None:
        self.direct = _head_is_plain(self.model)


def add_adapter(task: CausalLM, wanted: Adapter) -> None:
    """Add an adapter, of which only the matrices are trainable; they are on the CPU, like all fakes."""
    # peft moves what it adds to its layer's device, which torch cannot do to parameters without values.
    with patch.object(nn.Module, "to", lambda module, *_args, **_kwargs: module):
        inject(task, "unlearning", wanted, 0)


def _head_is_plain(model: PreTrainedModel) -> bool:
    """Whether logits are the output layer's result on the last hidden states, with nothing before or after.

    Real models are tested with numbers; here by whether they are the same tensors.
    """
    head = model.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None or model.base_model is model:
        return False
    seen: dict[str, Tensor] = {}

    def body(_module: nn.Module, _inputs: Any, output: Any) -> None:
        seen["states"] = output.last_hidden_state

    def made(_module: nn.Module, inputs: Any, output: Tensor) -> None:
        seen["given"], seen["logits"] = inputs[0], output

    hooks = [model.base_model.register_forward_hook(body), head.register_forward_hook(made)]
    try:
        with torch.no_grad():
            logits = model(input_ids=torch.zeros(1, 4, dtype=torch.long), use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    if "states" not in seen:  # the body bypasses its own forward (OPT)
        seen["states"] = seen["given"]
    return _same_storage(seen["states"], seen["given"]) and _same_storage(seen["logits"], logits)
