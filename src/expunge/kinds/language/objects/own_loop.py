"""What a training loop of the user's own needs of a method: batches with the signals that its loss reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from expunge.core.order import Order
from expunge.errors import DataError, RecipeError
from expunge.kinds.language.objects.held import check_given, inner_model
from expunge.kinds.language.objects.unlearning import Options, Work, prepared, work
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.train.step import IGNORED, Batch, Step

ENDLESS = 1e9
FIELDS = ("input_ids", "attention_mask", "labels")


class Prepared:
    """Sets and signals for a loop of the user's own; also a map-style dataset, with `collate`, for a DataLoader.

    Attributes:
        forget, retain: the blocks; None if there is no such set.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        check_given(model, tokenizer)
        training = model.training
        model.eval()
        self._task = CausalLM(inner_model(model), tokenizer)
        model.train(training)
        self.forget: TokenTable | None = None
        self.retain: TokenTable | None = None
        self._draws = (False, False)
        self._seed = self._drawn = 0

    def step(self, forget: Any = None, retain: Any = None) -> Step:
        """What `method.loss` is called with.

        Args:
            forget: a batch, on any device: as `collate` makes it, or a mapping of tensors, as collators of transformers
                do: `input_ids` (batch, time), padded on the right, with `attention_mask` and `labels`; other entries
                are signals, by name.
            retain: the same of the retain set.
        """

        def there(given: Any, name: str) -> Batch | None:
            return None if given is None else as_batch(given, name).to(self._task.device)

        return Step(self._task, there(forget, "forget"), there(retain, "retain"))

    def __len__(self) -> int:
        """Blocks of the set that an epoch goes through."""
        return len(self._main)

    def __getitem__(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return row

    def collate(self, rows: Sequence[int]) -> dict[str, Batch]:
        """The batches of a step: these blocks of the set that an epoch goes through, and as many of the retain set, in
        an order of its own."""
        forget, retain = self._draws
        if not forget:
            return {"retain": self._main.batch(rows)}
        found = {"forget": self._main.batch(rows)}
        if retain:
            assert self.retain is not None
            order = Order(self.retain.lengths, len(rows), self._seed, "retain")
            found["retain"] = self.retain.batch(order.batch(self._drawn))
            self._drawn += 1
        return found

    def steps(self, batch_size: int, epochs: int = 1) -> Iterator[Step]:
        """Steps of some epochs, in the order in which `unlearn` draws them."""
        order = Order(self._main.lengths, batch_size, self._seed, "forget" if self._draws[0] else "retain")
        self._drawn = 0
        for number in range(epochs * order.batches_per_epoch):
            yield self.step(**self.collate(order.batch(number)))

    @property
    def _main(self) -> TokenTable:
        table = self.forget if self._draws[0] or self.retain is None else self.retain
        if table is None:
            raise RecipeError(
                "no sets were given", next_step="expunge.prepare(model, tokenizer, forget=..., method=...)"
            )
        return table


def prepare_model(model: Any, tokenizer: Any, forget: Any, retain: Any, method: Any, options: Options) -> Prepared:
    """See `expunge.api.prepare`."""
    if forget is None:
        return Prepared(model, tokenizer)
    training = Training(num_train_epochs=ENDLESS, bf16=False)  # any block of the retain set may be drawn
    with work(model, tokenizer, forget, retain, method, training, None, options) as at_work:
        if not at_work.method.has_loss():
            raise RecipeError(
                f"{type(at_work.method).__name__} is not a loss, so there is no loop to write around it",
                next_step="expunge.unlearn(...)",
            )
        if at_work.method.makes_gradient():
            raise RecipeError(
                f"a step of {type(at_work.method).__name__} is more than a backward pass of its loss",
                next_step="expunge.unlearn(...)",
            )
        if at_work.method.scheduled:
            raise RecipeError(
                f"the loss of {type(at_work.method).__name__} changes from step to step, over all steps of a training",
                next_step="expunge.unlearn(...)",
            )
        return _prepared(at_work, model, tokenizer)


def _prepared(at_work: Work, model: Any, tokenizer: Any) -> Prepared:
    with at_work.alike():
        _, trained = prepared(at_work)
    found = Prepared(model, tokenizer)
    found.forget, found.retain = trained.forget, trained.retain
    found._draws, found._seed = (at_work.method.needs.forget, at_work.method.draws_retain), at_work.run.recipe.seed
    return found


def as_batch(given: Any, name: str) -> Batch:
    """A batch of ours, or a mapping of tensors as a batch.

    Raises:
        DataError: no `input_ids`, or padding elsewhere than on the right.
    """
    if isinstance(given, Batch):
        return given
    if not isinstance(given, Mapping) or "input_ids" not in given:
        raise DataError(
            f"the {name} batch is not a batch",
            seen=type(given).__name__,
            allowed="the output of `collate`, or a mapping with `input_ids`, and `attention_mask` if there is padding",
        )
    ids: Tensor = given["input_ids"]
    mask = torch.ones_like(ids) if given.get("attention_mask") is None else given["attention_mask"]
    lengths = mask.sum(1)
    if not torch.equal(mask.bool(), torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]):
        raise DataError(f"the {name} batch is not padded on the right", next_step='tokenizer.padding_side = "right"')
    labels = (ids if given.get("labels") is None else given["labels"]).masked_fill(~mask.bool(), IGNORED)
    labels[:, 0] = IGNORED  # nothing precedes it
    return Batch(
        ids=ids,
        labels=labels,
        lengths=lengths,
        normaliser=float((labels != IGNORED).sum().clamp(min=1)),
        examples=float(len(ids)),
        tokens=float(lengths.sum()),
        rows=tuple(range(len(ids))),
        signals={key: value for key, value in given.items() if key not in FIELDS},
    )
