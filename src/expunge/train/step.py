"""What methods see of a model: batches, and losses over their rows.

The one seam between methods and kinds of model. A *row* is a vector of logits with a target and belongs to an example:
a labelled token here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from expunge.kinds.language.layers.structure import Structure

IGNORED = -100
"label that keeps a position out of the loss, as in transformers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Examples padded on the right.

    Attributes:
        ids: (batch, time) token ids.
        labels: (batch, time); `labels[:, t]` is what position t - 1 should predict, `IGNORED` outside the loss.
        lengths: (batch,) tokens before padding.
        normaliser: divisor of sums: the labelled tokens of the whole optimizer step, so that gradient
            accumulation changes nothing.
        soft_ids, soft_weights: (batch, time, k) candidates and their weights instead of `labels`.
        examples: divisor of sums over examples: those of the whole optimizer step.
        tokens: divisor of sums over tokens: those of the whole optimizer step, without padding.
        rows: numbers of the examples in the set they were drawn from.
        signals: name -> precomputed signals of these examples: tensors, or objects with a `to(device)`.
    """

    ids: Tensor
    labels: Tensor
    lengths: Tensor
    normaliser: float
    soft_ids: Tensor | None = None
    soft_weights: Tensor | None = None
    examples: float = 0.0
    tokens: float = 0.0
    rows: tuple[int, ...] = ()
    signals: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Tokens before padding, including batches among its signals."""
        more = (signal.size for signal in self.signals.values() if isinstance(signal, Batch))
        return int(self.lengths.sum()) + sum(more)

    def to(self, device: torch.device) -> Batch:
        """On a device, with its signals."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        moved = {name: value.to(device) if hasattr(value, "to") else value for name, value in values.items()}
        moved["signals"] = {name: signal.to(device) for name, signal in self.signals.items()}
        return Batch(**moved)


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss and its parts (scalars), for separate logs. `total` is what is minimised."""

    forget: Tensor | None = None
    retain: Tensor | None = None

    @property
    def terms(self) -> list[Tensor]:
        """The terms of the sum."""
        return [part for part in (self.forget, self.retain) if part is not None]

    @property
    def total(self) -> Tensor:
        return sum(self.terms[1:], start=self.terms[0])


class SampledLabels:
    """The original's distribution in each row, as a few candidates with weights, some of them sampled for all others.

    Sums over them estimate sums over the vocabulary without bias, so they only serve for cross-entropy. A loss
    that is not linear in them, such as Jensen-Shannon, would be another loss: it is 0 nowhere, and pulls the model away
    from its target. So they cannot be read; such losses use `Step.against_original`.

    Args:
        weights: (rows, k).
        candidates: (rows, k) classes; None if the k columns are all classes.
    """

    __slots__ = ("__candidates", "__weights")

    def __init__(self, weights: Tensor, candidates: Tensor | None = None) -> None:
        self.__weights, self.__candidates = weights, candidates

    def to(self, device: torch.device) -> SampledLabels:
        """The same on a device."""
        candidates = None if self.__candidates is None else self.__candidates.to(device)
        return SampledLabels(self.__weights.to(device), candidates)

    def cross_entropy(self, log_p: Tensor) -> Tensor:
        """(rows,) with `log_p` (rows, classes): KL(original || model) up to a constant."""
        likely = log_p if self.__candidates is None else log_p.gather(1, self.__candidates)
        return -(self.__weights * likely).sum(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of logits with a target each: labelled tokens, or images.

    Attributes:
        logits: (rows, classes), differentiable.
        target: (rows,) the class that each row is labelled with.
        example: (rows,) the example of the batch that a row belongs to.
        said: the original model's outputs there, if the method declared them.
    """

    logits: Tensor
    target: Tensor
    example: Tensor
    said: SampledLabels | None = None

    def cross_entropy(self, log_p: Tensor) -> Tensor:
        """(rows,) of the original's outputs there with `log_p` (rows, classes): KL(original || model) up to a
        constant."""
        if self.said is None:
            raise ValueError("the method uses the original's outputs, which it did not declare in `signals`")
        return self.said.cross_entropy(log_p)


class Task(Protocol):
    """Interface of a kind of model to methods."""

    def nll(self, batch: Any, ceiling: float | Tensor | None = None) -> Tensor:
        """Negative log-likelihood of the labels (soft ones if the batch has them): sum over rows / normaliser.

        No row counts for more than `ceiling` (one, or one per label); a row above it has no gradient.
        """

    def nll_and_truth(self, batch: Any, ceiling: float | Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(`nll`, the summed negative log-likelihood of the true targets, whatever the labels)."""

    def row_nll(self, batch: Any) -> Tensor:
        """(rows,) negative log-likelihood of each label."""

    def example_nll(self, batch: Any) -> Tensor:
        """(examples,) negative log-likelihood of each example's labels, summed over its rows."""

    def example_rows(self, batch: Any) -> Tensor:
        """(examples,) number of labelled rows of each example, as float."""

    def rows(self, batch: Any) -> Rows:
        """Every labelled row's logits."""

    def row_values_and_truth(
        self, batch: Any, of: Callable[[Tensor, Tensor | None, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """((rows,) of each labelled row's log-probabilities, the original's if the batch has them, and its label;
        summed nll)."""


class LayeredTask(Task, Protocol):
    """Further interface of a language model."""

    model: nn.Module

    @property
    def layers(self) -> nn.ModuleList:
        """The layers of the text tower, first to last."""

    def layer_of(self, name: str) -> int | None:
        """The layer of the text tower that a weight belongs to, from 0; None for all other weights."""

    def structure(self) -> Structure:
        """The weights through which its layers write to the residual stream."""

    def hidden(self, batch: Any, layer: int) -> Tensor:
        """(tokens, width) hidden states after this many layers, at every token that is not padding, in order."""

    def hidden_at(self, batch: Any, layers: Sequence[int]) -> Tensor:
        """(tokens, layers, width) the same after each of several numbers of layers."""


@dataclass(frozen=True, slots=True)
class Step:
    """One micro-batch as a method sees it: batches of either set, and the task's outputs on them.

    Attributes:
        truth: set -> summed negative log-likelihood of the true targets, if a loss computed it.
        progress: share of the training's steps done, 0 in the first; for losses that change meanwhile
            (`Method.scheduled`).
        backward: adds the gradient of a term; None: that of the whole loss is added at once, by whoever asked for it.
    """

    task: Task
    forget: Any
    retain: Any
    truth: dict[str, Tensor] = field(default_factory=dict)
    progress: float = 0.0
    backward: Callable[[Tensor], Any] | None = None

    def before_next(self, term: Tensor) -> Tensor:
        """A term of the loss, before the next one is made. Where `backward` is there its gradient is added now, so that
        what it needs never lies in memory with what the next one needs, and what is returned has none."""
        if self.backward is None or not term.requires_grad:
            return term
        self.backward(term)
        return term.detach()

    def figures(self, loss: Loss) -> dict[str, Tensor]:
        """What is logged of a loss: its parts, and the truth's negative log-likelihood of either set in nats a row.

        All are scalars on the device, and add up over the batches of an optimizer step.
        """
        found = {"forget_loss": loss.forget, "retain_loss": loss.retain}
        for name, truth in self.truth.items():
            # Apple's devices have no float64.
            found[f"{name}_truth"] = (truth if truth.device.type == "mps" else truth.double()) / self._of(
                name
            ).normaliser
        return {name: value.detach() for name, value in found.items() if value is not None}

    def _of(self, name: str) -> Any:
        return self.forget if name == "forget" else self.retain

    def _note(self, batch: Any, truth: Tensor) -> None:
        for name in ("forget", "retain"):
            if batch is self._of(name):
                self.truth[name] = truth.detach()

    def nll(self, batch: Any, ceiling: float | Tensor | None = None) -> Tensor:
        """Negative log-likelihood of the batch's labels, in nats a row of the whole optimizer step; scalar.

        Without gradient accumulation that is the batch's mean; with it, the batch's part of the mean. A row counts for
        at most `ceiling` nats (one figure, or one a label); above it, it has no gradient.
        """
        value, truth = self.task.nll_and_truth(_there(batch), ceiling)
        self._note(batch, truth)
        return value

    def row_nll(self, batch: Any) -> Tensor:
        """(rows,) negative log-likelihood of each label, in nats: for losses that weigh rows by their likelihood."""
        losses = self.task.row_nll(_there(batch))
        self._note(batch, losses.detach().sum())
        return losses

    def example_nll(self, batch: Any) -> Tensor:
        """(examples,) negative log-likelihood of each example, in nats, summed over its labelled rows."""
        losses = self.task.example_nll(_there(batch))
        self._note(batch, losses.detach().sum())
        return losses

    def signal(self, name: str) -> Any:
        """A signal's values for the batch of its set; the signal's class says in which shape.

        Raises:
            ValueError: the method does not ask for it.
        """
        for batch in (self.forget, self.retain):
            if batch is not None and name in batch.signals:
                return batch.signals[name]
        raise ValueError(f"the method read the signal {name}, which it did not declare in `signals`")

    def reference_nll(self, batch: Any) -> Tensor:
        """(examples,) `example_nll` of the original model, computed once before training: signal `reference_nll`."""
        _there(batch)
        found: Tensor = self.signal("reference_nll")
        return found

    def example_rows(self, batch: Any) -> Tensor:
        """(examples,) labelled rows of each example: the answer's tokens, or 1 for an image."""
        return self.task.example_rows(_there(batch))

    def example_means(self, batch: Any, values: Tensor) -> Tensor:
        """(examples,) mean of `values` (rows,) over each example's labelled rows; 0 if it has none."""
        counts = self.example_rows(batch)
        example = torch.repeat_interleave(torch.arange(len(counts), device=values.device), counts.long())
        sums = torch.zeros(len(counts), dtype=values.dtype, device=values.device).index_add(0, example, values)
        return sums / counts.to(values.dtype).clamp(min=1)

    def mean(self, batch: Any, values: Tensor) -> Tensor:
        """Mean of `values` (examples,) over the examples of the whole optimizer step; scalar."""
        return values.sum() / (_there(batch).examples or len(values))

    def row_mean(self, batch: Any, values: Tensor) -> Tensor:
        """Mean of `values` (rows,) over the labelled rows of the whole optimizer step; scalar."""
        return values.sum() / _there(batch).normaliser

    def token_mean(self, batch: Any, values: Tensor) -> Tensor:
        """Mean of `values` (tokens,) over the tokens of the whole optimizer step that are not padding; scalar."""
        return values.sum() / (_there(batch).tokens or len(values))

    def rows(self, batch: Any) -> Rows:
        """Every labelled row's logits: for losses that need more than the likelihood of the label."""
        rows = self.task.rows(_there(batch))
        with torch.no_grad():
            log_p = rows.logits.gather(1, rows.target[:, None])[:, 0] - rows.logits.logsumexp(-1)
        self._note(batch, -log_p.sum())
        return rows

    def row_values(self, batch: Any, of: Callable[..., Tensor], labels: bool = False) -> Tensor:
        """(rows,) of every labelled row's log-probabilities: `of` makes (rows,) of (rows, classes), each row by itself.

        `of` gets some rows at a time, so that all tokens' logits never lie in memory together; with `labels` their
        labels (rows,), too.
        """
        return self._row_values(batch, lambda log_p, _, target: of(log_p, target) if labels else of(log_p))

    def against_original(self, batch: Any, of: Callable[..., Tensor], labels: bool = False) -> Tensor:
        """(rows,) of every labelled row's log-probabilities and the original model's, both (rows, classes) and whole.

        For distances between distributions: what is 0 for equal ones is 0, with gradient 0, for the unchanged model.
        With `labels`, `of` gets (rows,) labels as well.

        Raises:
            ValueError: the method does not ask for the signal `distributions`.
        """

        def both(log_p: Tensor, log_q: Tensor | None, target: Tensor) -> Tensor:
            if log_q is None:
                raise ValueError("the method asked for distributions, which it did not declare in `signals`")
            return of(log_p, log_q, target) if labels else of(log_p, log_q)

        return self._row_values(batch, both)

    def _row_values(self, batch: Any, of: Callable[[Tensor, Tensor | None, Tensor], Tensor]) -> Tensor:
        values, truth = self.task.row_values_and_truth(_there(batch), of)
        self._note(batch, truth)
        return values

    def hidden(self, batch: Any, layer: int) -> Tensor:
        """(tokens, width) hidden states after `layer` layers, of every token that is not padding; no layer above it
        runs."""
        return cast(LayeredTask, self.task).hidden(_there(batch), layer)

    def hidden_at(self, batch: Any, layers: Sequence[int]) -> Tensor:
        """(tokens, layers, width) `hidden` after each of several numbers of layers, in one pass."""
        return cast(LayeredTask, self.task).hidden_at(_there(batch), layers)


def _there(batch: Any) -> Any:
    if batch is None:
        raise ValueError("the method asked for a set that it did not declare in `needs`")
    return batch
