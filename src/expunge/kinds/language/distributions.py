"""Whole distributions over the vocabulary, in chunks of rows: the model's and the original's.

The original's are not stored, but its last hidden states and its head, from which they are computed. So losses
that are not linear in them, such as Jensen-Shannon, are exact, and only a chunk of logits exists at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from expunge.errors import ModelError
from expunge.models.beside import beside

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 128
"rows whose logits exist at once"
LARGE_LOGIT = 1e3
"logit size that shows a soft cap; it does not change small logits"


@dataclass(slots=True)
class FrozenHead:
    """A copy of the original's output layer: `weight` (vocabulary, width), and `bias` (vocabulary,) if it has one."""

    weight: Tensor
    bias: Tensor | None = None

    def to(self, device: torch.device) -> FrozenHead:
        """Move to a device and stay there, so that it is copied once and not at every batch."""
        if self.weight.device != device:
            self.weight = self.weight.to(device)
            self.bias = None if self.bias is None else self.bias.to(device)
        return self

    def cast(self, dtype: torch.dtype) -> FrozenHead:
        """A copy in this dtype; itself if it has it."""
        return FrozenHead(self.weight.to(dtype), None if self.bias is None else self.bias.to(dtype))


@dataclass(slots=True)
class Original:
    """What the original model's distributions are computed from."""

    states: Tensor
    "(rows, width) its head's inputs before every labelled token of a batch"
    head: FrozenHead

    def to(self, device: torch.device) -> Original:
        return replace(self, states=self.states.to(device), head=self.head.to(device))

    def part(self, rows: slice, head: FrozenHead) -> Original:
        """Select some of the rows, with the head in the dtype of the computation."""
        return replace(self, states=self.states[rows].to(head.weight.dtype), head=head)

    def log_q(self, head: Head) -> Tensor:
        """(rows, vocabulary) log-probabilities, float32 at least; other kinds of target override this."""
        return wide(head.frozen_logits(self.states, self.head)).log_softmax(-1)


class Reached(Exception):  # noqa: N818 - no error
    """Raised by a hook to end a forward pass."""


class _Body:
    """The output of a model's body, instead of the real one: any hidden states will do, since the head is replaced."""

    def __init__(self, states: Tensor) -> None:
        self.last_hidden_state = states

    def __getitem__(self, place: Any) -> Any:
        return self.last_hidden_state if place == 0 else None

    def __getattr__(self, name: str) -> None:
        return None


class Head:
    """The way from the input of a language model's output layer to its logits.

    Between output layer and logits a model may scale or cap them (Cohere, Granite, Gemma 2). That part is run as the
    model's own forward does it: with its body left out, and the output layer's result put in place.

    Raises:
        ModelError: the model has no output layer, or its logits are not a function of it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        if model.get_output_embeddings() is None or model.base_model is model:
            raise _no_head(model, "no output layer")
        if beside(model) is not None:
            raise _no_head(model, "an assistant, or adapters, that also contribute to its logits")
        self.direct = True
        self._check()

    @property
    def layer(self) -> nn.Module:
        """The output layer, as it is in the model now."""
        layer: nn.Module = self.model.get_output_embeddings()
        return layer

    def states(self, ids: Tensor) -> Tensor:
        """(batch, time, width) inputs of the output layer."""
        seen: list[Tensor] = []

        def stop(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            seen.append(given[0])
            raise Reached

        with self.layer.register_forward_pre_hook(stop), suppress(Reached):
            self.model(input_ids=ids, use_cache=False)
        return seen[0]

    def logits(self, states: Tensor) -> Tensor:
        """(rows, vocabulary) log-probabilities of the current model, for (rows, width) inputs of its output layer."""
        return self.finished(self.layer(states))

    def frozen_logits(self, states: Tensor, head: FrozenHead) -> Tensor:
        """(rows, vocabulary) log-probabilities of the original, for its own inputs and output layer."""
        return self.finished(F.linear(states, head.weight, head.bias))

    def frozen(self) -> FrozenHead:
        """A copy of the output layer as it is now."""
        weight, bias = self.layer.weight, getattr(self.layer, "bias", None)
        assert isinstance(weight, Tensor)
        return FrozenHead(weight.detach().clone(), bias.detach().clone() if isinstance(bias, Tensor) else None)

    def finished(self, raw: Tensor) -> Tensor:
        """(rows, vocabulary) logits, from the output layer's result."""
        if self.direct:
            return raw
        body = self.model.base_model
        width = self.model.config.get_text_config().hidden_size
        states = torch.zeros(1, len(raw), width, dtype=next(self.layer.parameters()).dtype, device=raw.device)
        own = body.__dict__.get("forward")
        body.forward = lambda *_args, **_named: _Body(states)
        try:
            ids = torch.zeros(1, len(raw), dtype=torch.long, device=raw.device)
            with self.layer.register_forward_hook(lambda _module, _given, _said: raw[None]):
                logits: Tensor = self.model(input_ids=ids, use_cache=False).logits[0]
        finally:
            if own is None:
                del body.forward
            else:
                body.forward = own
        return logits

    @torch.no_grad()
    def _check(self) -> None:
        """Test both ways on a few tokens, with logits so large that a cap shows."""
        training = self.model.training
        self.model.eval()
        said: list[Tensor] = []

        def enlarge(_module: nn.Module, _given: object, output: Tensor) -> Tensor:
            said.append(output * (LARGE_LOGIT / output.abs().max().clamp(min=1e-6)))
            return said[-1]

        vocabulary = self.model.config.get_text_config().vocab_size
        ids = torch.tensor([[1, 5, 2, 7]], device=self.model.device) % vocabulary
        try:
            states = self.states(ids)[0]
            with self.layer.register_forward_hook(enlarge):
                wanted = self.model(input_ids=ids, use_cache=False).logits[0].float()
            self.direct = _alike(said[0][0].float(), wanted)
            if not self.direct and not _alike(self.finished(said[0][0]).float(), wanted):
                raise _no_head(self.model, "logits that are not made from the output layer's, place by place")
            mine, own = self.frozen_logits(states, self.frozen()), self.logits(states)
            if not _alike(mine.float(), own.float()):
                raise _no_head(self.model, f"an output layer that is not a matrix: {type(self.layer).__name__}")
        except (TypeError, AttributeError, RuntimeError, IndexError) as error:
            raise _no_head(self.model, f"{type(error).__name__}: {error}") from error
        finally:
            self.model.train(training)


def _alike(one: Tensor, other: Tensor) -> bool:
    scale = float(other.abs().max().clamp(min=1e-6))
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-3 * scale)


def _no_head(model: PreTrainedModel, seen: str) -> ModelError:
    return ModelError(
        "the method compares whole distributions with the original's, which cannot be stored for this model",
        seen=f"{type(model).__name__}: {seen}",
        next_step="choose a method that compares only likelihoods: npo, simnpo, gradient_difference",
    )


Values = Callable[[Tensor, Tensor | None, Tensor], Tensor]
"(log p, log p of the original or None), each (rows, vocabulary), and (rows,) labels, to (rows,) values"


def row_values(
    head: Head, states: Tensor, target: Tensor, of: Values, original: Original | None = None
) -> tuple[Tensor, Tensor]:
    """(rows,) values of distributions, differentiable, and the summed -log p of `target`; a chunk of rows at a time.

    A chunk's logits are recomputed for its gradient, and released after it.

    Args:
        states: (rows, width) inputs of the model's output layer.
        target: (rows,) token ids.
        of: function of a chunk's distributions.
        original: the original's distributions in the same rows.
    """
    kind = states.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
    frozen = None if original is None else original.head.cast(dtype)

    def part(states: Tensor, target: Tensor, said: Original | None) -> tuple[Tensor, Tensor]:
        log_p = wide(head.logits(states)).log_softmax(-1)
        log_q = None
        if said is not None:
            with torch.no_grad():
                log_q = said.log_q(head)
        return of(log_p, log_q, target), -log_p.detach().gather(1, target[:, None]).sum()

    values, truth = [], torch.zeros((), device=states.device)
    for start in range(0, len(states), CHUNK):
        rows = slice(start, start + CHUNK)
        said = None if original is None or frozen is None else original.part(rows, frozen)
        given = states[rows], target[rows], said
        if torch.is_grad_enabled():
            found, cost = checkpoint(part, *given, use_reentrant=False, preserve_rng_state=False)
        else:
            found, cost = part(*given)
        values.append(found)
        truth = truth + cost
    return torch.cat(values) if values else states.sum(-1), truth


def wide(values: Tensor) -> Tensor:
    """float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
