"""The layers of a language model's text tower: their hidden states, and the weights that they write through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cached_property

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from expunge.errors import ModelError, RecipeError
from expunge.kinds.language.distributions import Reached, wide
from expunge.kinds.language.layers.decoder import Decoder, find_decoder, first_tensor, hooked
from expunge.kinds.language.layers.structure import Structure
from expunge.ops.packing import text_places
from expunge.train.step import Batch

TRIED = 12
"tokens to run the model on to find its layers"

Context = Callable[[], AbstractContextManager[object]]


class Layered(ABC):
    """Access to a language model's layers. They are found on first use."""

    model: PreTrainedModel
    autocast: Context
    _structure: Structure | None = None
    _runs_on: torch.device | None = None

    @property
    def device(self) -> torch.device:
        """The device the model runs on; its weights may be elsewhere."""
        return self._runs_on or self.model.device

    @abstractmethod
    def _hidden(self, batch: Batch, keep_padding: bool = False) -> Tensor:
        """(batch, time, width) last hidden states; `keep_padding`: keep the padded layout, as forward hooks need it."""

    @cached_property
    def decoder(self) -> Decoder:
        """The layers of the text tower, wherever they are in the model.

        Raises:
            ModelError: text does not pass a list of layers.
        """
        return find_decoder(self.model, self.run_on_few_tokens)

    @property
    def layers(self) -> nn.ModuleList:
        """The text tower's blocks, first to last."""
        return self.decoder.layers

    def layer_of(self, name: str) -> int | None:
        """The layer of the text tower that a weight belongs to, from 0; None for all other weights."""
        return self.decoder.layer_of(name)

    def structure(self) -> Structure:
        """The weights through which layers write to the residual stream; to be read before adapters are added."""
        if self._structure is None:
            self._structure = Structure(self.model, self.decoder, self.run_on_few_tokens)
        return self._structure

    def run_on_few_tokens(self) -> None:
        """Run the model on a few tokens, to find layers."""
        ids = (7 * torch.arange(TRIED, device=self.device) + 5) % self.model.config.get_text_config().vocab_size
        training = self.model.training
        self.model.eval()
        try:
            self.model.base_model(input_ids=ids[None], use_cache=False)
        finally:
            self.model.train(training)

    def hidden(self, batch: Batch, layer: int) -> Tensor:
        """(tokens, width) hidden states after `layer` layers; the layers above are not run.

        Raises:
            RecipeError: the model has no such layer.
        """
        return self.hidden_at(batch, [layer])[:, 0]

    def hidden_at(self, batch: Batch, layers: Sequence[int]) -> Tensor:
        """(tokens, layers, width) hidden states after each of these layers; those above the last are not run.

        Raises:
            RecipeError: the model has no such layer.
        """
        for layer in layers:
            if not 1 <= layer <= len(self.layers):
                raise RecipeError(
                    "the model has no such layer",
                    seen=f"layer {layer}",
                    allowed=f"1 to {len(self.layers)}, from the input up",
                )
        batch = batch.to(self.device)
        seen: dict[int, Tensor] = {}

        def note(layer: int) -> Callable[..., None]:
            def at(module: nn.Module, inputs: object, output: object) -> None:
                seen[layer] = _states(output, batch)
                if layer == max(layers):
                    raise Reached

            return at

        hooks = (self.layers[layer - 1].register_forward_hook(note(layer)) for layer in dict.fromkeys(layers))
        with hooked(hooks), self.autocast(), suppress(Reached):
            self._hidden(batch, keep_padding=True)
        there = text_places(batch.lengths, batch.ids.shape[1])
        return torch.stack([wide(seen[layer][there]) for layer in layers], 1)

    @torch.inference_mode()
    def example_states(self, batch: Batch, where: Tensor | None = None) -> Tensor:
        """(blocks, layers, width) float32: the mean hidden state of each block after each layer, without padding.

        Args:
            where: (blocks, time) bool, positions of each block to use; default: all.
        """
        batch = batch.to(self.device)
        there = (text_places(batch.lengths, batch.ids.shape[1]) if where is None else where.to(self.device)).float()
        means: dict[int, Tensor] = {}

        def note(number: int) -> Callable[..., None]:
            def at(module: nn.Module, inputs: object, output: object) -> None:
                states = _states(output, batch).float()
                means[number] = (states * there[..., None]).sum(1) / there.sum(1)[:, None]

            return at

        with (
            hooked(layer.register_forward_hook(note(number)) for number, layer in enumerate(self.layers)),
            self.autocast(),
        ):
            self._hidden(batch, keep_padding=True)
        # Text skips the layers for pictures: they do not change the states.
        for number in range(1, len(self.layers)):
            means.setdefault(number, means[number - 1])
        return torch.stack([means[number] for number in range(len(self.layers))], 1)


def _states(output: object, batch: Batch) -> Tensor:
    """(batch, time, width) the hidden states in a layer's output.

    Raises:
        ModelError: it returned something else (XLNet's states are transposed, DeepSeek V4 has several streams).
    """
    found = first_tensor(output)
    if found is None or found.dim() != 3 or found.shape[:2] != batch.ids.shape:
        raise ModelError(
            "the model's layers return no hidden states of the usual shape",
            seen=None if found is None else tuple(found.shape),
            allowed=f"({', '.join(map(str, batch.ids.shape))}, width)",
            next_step="use a method that needs no hidden states",
        )
    return found
