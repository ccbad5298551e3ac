"""Settings of small models for tests of plans, and what steps of them take, each found once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from transformers import LlamaConfig

from expunge.kinds.language.plan import step
from expunge.kinds.language.plan.depth import Made
from expunge.kinds.language.plan.step import Setting, Taken
from expunge.kinds.language.recipe import Training
from expunge.models.language_kind import LanguageKind
from expunge.runs.registry import make_method

WIDTH, INNER, HEADS, KEYS, VOCABULARY = 64, 160, 4, 2, 500


def config(layers: int = 2, **more: Any) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KEYS,
        vocab_size=VOCABULARY,
        max_position_embeddings=512,
        **({"tie_word_embeddings": True} | more),
    )


def setting(layers: int = 2, method: str = "gradient_difference", bf16: bool = False, **training: Any) -> Setting:
    """Two blocks of 32 tokens of each set, unless said otherwise."""
    return Setting(
        model=LanguageKind("AutoModelForCausalLM", config(layers)),
        narrow=torch.bfloat16,
        method=make_method({"name": method}, "causal_lm"),
        training=Training(**({"per_device_train_batch_size": 2} | training)),
        block_size=32,
        bf16=bf16,
    )


def layer_matrices() -> int:
    """Numbers in the matrices of a layer, counted by hand."""
    head = WIDTH // HEADS
    attention = 2 * WIDTH * WIDTH + 2 * WIDTH * KEYS * head
    return attention + 3 * WIDTH * INNER


def parameters(layers: int) -> int:
    """All weights, counted by hand: embeddings are the head, two norms a layer, one at the end."""
    return VOCABULARY * WIDTH + layers * (layer_matrices() + 2 * WIDTH) + WIDTH


def once(make: Made) -> Made:
    """`make`, which finds the same for the same setting, and is asked for it once."""
    known: dict[object, Taken] = {}

    def look_up(setting: Setting, layers: int | None = None, period: int = 1) -> Taken:
        key = repr(setting), layers, period
        if key not in known:
            known[key] = make(setting, layers, period)
        return replace(known[key], peaks=dict(known[key].peaks), numbers=dict(known[key].numbers))

    return look_up


training_step, look = once(step.training_step), once(step.look)
