"""A model with an assistant: a smaller one that remembers the forget set, and is subtracted from its logits.

As files it is a folder with `assistant.json` and two models: `base`, which still holds what was forgotten, and
`assistant`. There is no `config.json`, so that nobody loads the base alone by accident.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel

from expunge.core import storage
from expunge.errors import ModelError
from expunge.models.digest import ASSISTED

BASE, ASSISTANT = "base", "assistant"
"the two models' folders"
BESIDE = "assistant"
"name of the assistant within its model"
KIND = "logit difference"
KEEPS = "keeps an assistant: the saved base still holds what was forgotten"
"the note for every reader of such a model's results"
CACHES = ("cache", "past_key_values")
"names of the argument with keys and values; older releases of transformers use the second one"


@dataclass(frozen=True, slots=True)
class Difference:
    """How an assistant is subtracted.

    Attributes:
        weight: alpha, above 0.
        plausible: share of the vocabulary that the subtraction applies to, in [0, 1); 0: all of it. See `likely`.
    """

    weight: float
    plausible: float = 0.0


def likely(logits: Tensor, share: float) -> Tensor:
    """(..., vocabulary) bool: the tokens that a model finds likely.

    They are those of at least `share` times the largest probability, and the likeliest `share` of the vocabulary if
    that is more.
    """
    count = max(1, int(share * logits.shape[-1]))
    lowest = logits.topk(count, dim=-1).values[..., -1:]
    best = logits.max(-1, keepdim=True).values
    return logits >= torch.minimum(lowest, best + math.log(share))


def subtracted(base: Tensor, assistant: Tensor, how: Difference) -> Tensor:
    """(..., vocabulary) logits of both with the assistant subtracted, float32 at least; differentiable.

    With `plausible` 0 they are `base - weight * assistant`. Otherwise this only applies to the likely tokens: together
    they keep the probability that they had, and each of the others keeps its own. A constant in an assistant's logits
    has no effect.
    """
    wide = torch.promote_types(base.dtype, torch.float32)
    base, assistant = base.to(wide), assistant.to(wide)
    lowered = base - how.weight * assistant
    if how.plausible == 0:
        return lowered
    kept = likely(base.detach(), how.plausible)
    nothing = torch.finfo(wide).min
    mass, left = (values.masked_fill(~kept, nothing).logsumexp(-1, keepdim=True) for values in (base, lowered))
    return torch.where(kept, lowered + (mass - left), base)


def assistant_of(model: nn.Module) -> PreTrainedModel | None:
    """The assistant of a model; None if there is none."""
    found = getattr(model, BESIDE, None)
    return found if isinstance(found, PreTrainedModel) and hasattr(found, "difference") else None


def difference_of(model: nn.Module) -> Difference:
    """How its assistant is subtracted from a model that has one."""
    found = assistant_of(model)
    assert found is not None
    difference: Difference = found.difference
    return difference


def put_beside(model: PreTrainedModel, assistant: PreTrainedModel, how: Difference) -> None:
    """Make `model` return the logits of both together; the assistant becomes a part of it, `model.assistant`.

    Raises:
        ModelError: they have different vocabularies, or there is an assistant already.
    """
    sizes = [each.config.get_text_config().vocab_size for each in (model, assistant)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            "an assistant has the same vocabulary as its model",
            seen=f"{sizes[1]} tokens, and {sizes[0]} of the model",
            next_step="give both models of one run",
        )
    if hasattr(model, BESIDE):
        raise ModelError(f"{type(model).__name__} has an assistant already", next_step="begin with a model without one")
    assistant.difference = how
    model.add_module(BESIDE, assistant)
    model.register_forward_hook(_with_assistant, with_kwargs=True)


class BothCaches(DynamicCache):
    """A model's cache with that of its assistant: both are reordered together."""

    of_assistant: DynamicCache

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.of_assistant.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.of_assistant.batch_select_indices(indices)


def _with_assistant(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """A forward hook: the logits of both. The assistant reads the same input, and has a cache of its own."""
    given = dict(kwargs)
    given.pop("labels", None)
    name = next((each for each in CACHES if each in given), None)
    held = None if name is None else given[name]
    if name is not None and held is not None:
        given[name] = _own_cache(model, held, kwargs.get("input_ids"))
    assistant = assistant_of(model)
    assert assistant is not None
    said = assistant(*args, **given)
    if held is None and (made := cache_in(output)) is not None:
        made.of_assistant = cache_in(said)
    output.logits = subtracted(output.logits, said.logits, difference_of(model))
    if kwargs.get("labels") is not None:
        output.loss = None  # it would be the base model's
    return output


def _own_cache(model: nn.Module, held: Cache, ids: Tensor | None) -> Cache:
    """The assistant's cache that belongs to a model's."""
    own: Cache | None = getattr(held, "of_assistant", None)
    if own is None:
        if ids is not None and held.get_seq_length() > ids.shape[1]:
            raise ModelError(
                "a model with an assistant got a cache without its assistant's part",
                next_step="begin with an empty cache",
            )
        assistant = assistant_of(model)
        assert assistant is not None
        own = DynamicCache(config=assistant.config)
        held.of_assistant = own
    return own


def cache_in(output: Any) -> Cache | None:
    """The cache that a model returns; None if it has none."""
    there = output.keys()  # with its older name, transformers prints a warning
    return next((output[name] for name in CACHES if name in there), None)


def write_difference(folder: Path, how: Difference) -> None:
    """Write how the two models in a folder belong together."""
    storage.write_json(folder / ASSISTED, {"kind": KIND, **asdict(how)})


def read_difference(folder: Path) -> Difference:
    """How the two models in a folder belong together.

    Raises:
        ModelError: `assistant.json` does not say so. StorageError: it may not be read.
    """
    file = folder / ASSISTED
    allowed = f'{{"kind": "{KIND}", "weight": a number above 0, "plausible": 0 or a share below 1}}'
    content = storage.read_json_or_none(file)
    if isinstance(content, Mapping) and content.get("kind") == KIND:
        weight, plausible = _number(content.get("weight")), _number(content.get("plausible"))
        if 0 < weight < math.inf and 0 <= plausible < 1:
            return Difference(weight, plausible)
    raise ModelError(
        f"{file} does not say how the assistant is used",
        seen=content,
        allowed=allowed,
        next_step="copy the folder again from its origin",
    )


def _number(value: Any) -> float:
    """A number of JSON; NaN, which is in no range, where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
