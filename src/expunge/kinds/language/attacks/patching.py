"""Activation patching: can the base model still read the fact out of the unlearned model's hidden states?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from expunge.kinds.language.attacks.attack import Attack, Side, one_layer, tokens
from expunge.kinds.language.attacks.facts import BATCH, Row, batch_of, recall
from expunge.kinds.language.layers.decoder import first_tensor, hooked
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.task import CausalLM
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

LAYERS = 6
"layers after which states are patched, evenly spread"


class Patching(Attack):
    """The hidden states of one layer are put into the base model, which continues from them (the unlearning depth
    score, 2025, does so with the states of the unlearned and of a retrained model)."""

    name = "patch"
    title = "Hidden states read by the base model"
    sentence = (
        "The hidden states of a layer are passed to the base model's layers above, which still know how to read "
        "them. An answer that only the upper layers hide is legible to them. The most faithful of the cheap "
        "measures, if a retrained model is the control."
    )
    order = 42
    by_layer = True

    def missing(self, side: Side) -> str | None:
        if not side.retrained:  # the base's upper layers recite the facts themselves, and know no others
            return "it needs a retrained model as the control: give --control MODEL"
        return one_layer(side) or side.unlike_base(("hidden_size", "num_hidden_layers", "vocab_size"))

    def pieces(self, side: Side) -> list[Piece]:
        # For each layer the model is run up to that layer and the base model from there, and the base model once.
        read = 2.0 * tokens(side.asked())
        return [
            Piece(words=f"after layer {layer} of {side.layers}", work=Work(read=read, loaded=0 if place else 2))
            for place, layer in enumerate(_handed_over(side.layers or 1))
        ]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        own, base, rows = side.look(), side.base(), side.asked()
        # Rows of one length need no padding: both models run the same tokens at the same positions.
        lengths: dict[int, list[int]] = {}
        for number, row in enumerate(rows):
            lengths.setdefault(len(row.ids), []).append(number)
        groups = [same[start : start + BATCH] for same in lengths.values() for start in range(0, len(same), BATCH)]
        numbers = _handed_over(len(base.layers))
        for place, layer in enumerate(numbers):
            side.show(place / len(numbers), f"handing over after layer {layer}")
            values = [0.0] * len(rows)
            for group in groups:
                for i, value in zip(group, patched(own, base, [rows[i] for i in group], layer), strict=True):
                    values[i] = value
            yield Trial(
                setting=f"after layer {layer} of {len(base.layers)}",
                values=values,
                facts=list(range(len(rows))),
                family="layers",
                at=float(layer),
            )


def _handed_over(layers: int) -> list[int]:
    """Numbers of layers, from 1, after which states are patched."""
    return [at + 1 for at in spread(layers - 1, LAYERS)]


@torch.inference_mode()
def patched(own: CausalLM, base: CausalLM, rows: list[Row], layer: int) -> list[float]:
    """(rows,) recall of the base model that continues from the other model's states after `number` layers.

    Args:
        rows: of one length.
    """
    batch, seen = batch_of(rows).to(own.device), list[Tensor]()

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        state = first_tensor(output)
        assert state is not None
        seen.append(state)

    with hooked([own.layers[layer - 1].register_forward_hook(keep)]), own.autocast():
        own.model.base_model(input_ids=batch.ids, use_cache=False)
    with hooked([base.layers[layer - 1].register_forward_hook(_handing(seen[0]))]):
        return recall(base, rows)


def _handing(states: Tensor) -> Callable[..., Any]:
    def put(_module: Any, _inputs: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return states.to(output)
        return (states.to(output[0]), *output[1:])

    return put
