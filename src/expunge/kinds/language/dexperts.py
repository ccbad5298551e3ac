"""Decoding with an expert and an anti-expert: a baseline to compare with. It changes no weight, so no model can be saved."""

from __future__ import annotations

import copy
import inspect
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel


class DExperts(nn.Module):
    r"""Three models that speak as one (Liu et al. 2021, arXiv:2105.03023, equation 2).

    $$z = z_{\mathrm{base}} + \alpha \, (z_{\mathrm{expert}} - z_{\mathrm{anti}})$$

    Tokens outside the base model's nucleus are left out before, so that the experts only choose among what the base would
    say. Every token costs three forward passes, and whoever is handed the weights of the base has the base: this is no
    unlearning.

    It has what a task asks of a model: `CausalLM(DExperts(...), tokenizer)` generates with it.

    Args:
        expert, anti: the base model trained further, on clean and on toxic text.
        alpha: 2 in the paper.
        top_p: of the nucleus; 0.9 in the paper.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        expert: PreTrainedModel,
        anti: PreTrainedModel,
        alpha: float = 2.0,
        top_p: float = 0.9,
    ) -> None:
        super().__init__()
        self.models = nn.ModuleList([base, expert, anti])
        self.alpha, self.top_p = alpha, top_p
        self.config = copy.deepcopy(base.config)
        # A cache that is made for this configuration has room for the layers of all three.
        self.config.num_hidden_layers = 3 * base.config.num_hidden_layers
        if getattr(self.config, "layer_types", None):
            self.config.layer_types = 3 * list(self.config.layer_types)
        self.generation_config = base.generation_config

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def base_model(self) -> nn.Module:
        return self

    def get_input_embeddings(self) -> nn.Module:
        """The base model's."""
        found: nn.Module = self.models[0].get_input_embeddings()  # type: ignore[operator]
        return found

    def get_output_embeddings(self) -> None:
        """None: the logits are no hidden state times a head."""

    def forward(
        self, input_ids: Tensor, past_key_values: DynamicCache | None = None, use_cache: bool = False, **inputs: Any
    ) -> Any:
        """`logits` (rows, time, vocabulary), -inf outside the nucleus."""
        layers = self.config.num_hidden_layers // 3
        logits = []
        for number, model in enumerate(self.models):
            own = {}
            if past_key_values is not None:
                part = DynamicCache()
                part.layers = past_key_values.layers[number * layers : (number + 1) * layers]
                # the older name is what older releases of transformers know
                own["cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"] = part
            logits.append(model(input_ids=input_ids, use_cache=use_cache, **own, **inputs).logits)
        base, expert, anti = logits
        return SimpleNamespace(logits=in_nucleus(base, self.top_p) + self.alpha * (expert - anti))


def in_nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits with -inf outside the smallest set of likeliest tokens that has at least the probability `top_p`."""
    ordered, ids = logits.sort(-1, descending=True)
    probabilities = ordered.float().softmax(-1)
    outside = probabilities.cumsum(-1) - probabilities >= top_p
    return logits.masked_fill(torch.zeros_like(outside).scatter(-1, ids, outside), -torch.inf)
