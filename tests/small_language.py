"""A small GPT-2 in float64 with a batch of each set, and what losses are written out of: one token at a time, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from expunge.kinds.language.task import CausalLM
from expunge.runs.method import Method
from expunge.train.gradients import OwnGradient
from expunge.train.loop import Stream
from expunge.train.runtime import Runtime
from expunge.train.step import IGNORED, Batch, Step
from tiny import make_batch, random_blocks

FORGET = make_batch(random_blocks([9, 6], seed=1))
RETAIN = make_batch(random_blocks([5, 8, 7], seed=2), first_label=2)


def small_gpt2(seed: int = 0, layers: int = 3) -> CausalLM:
    """It computes in float64 throughout (Llama's norms do not), and its attention has second derivatives."""
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=200, n_embd=16, n_layer=layers, n_head=2, n_positions=48, initializer_range=0.2)
    config._attn_implementation = "eager"
    return CausalLM(GPT2LMHeadModel(config).double().eval(), None)  # type: ignore[arg-type]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return (
        logits
        - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - logits.max(-1, keepdims=True)
    )


def hidden(task: CausalLM, batch: Batch, layer: int) -> np.ndarray:
    """(tokens, width) of transformers' own hidden states, padding apart."""
    found = []
    for row, length in enumerate(batch.lengths.tolist()):
        with torch.no_grad():
            output = task.model(batch.ids[row : row + 1, :length], output_hidden_states=True)
        found.append(output.hidden_states[layer][0].numpy())
    return np.concatenate(found)


def row_log_p(task: CausalLM, batch: Batch, before: tuple[int, ...] = ()) -> np.ndarray:
    """(rows, vocabulary) log-probabilities at every labelled token, with a text put before each block."""
    rows = []
    for row, length in enumerate(batch.lengths.tolist()):
        ids = [*before, *batch.ids[row, :length].tolist()]
        with torch.no_grad():
            log_p = log_softmax(task.model(torch.tensor([ids])).logits[0].numpy())
        rows += [log_p[len(before) + t - 1] for t in range(1, length) if batch.labels[row, t] != IGNORED]
    return np.array(rows)


def targets(batch: Batch) -> np.ndarray:
    """(rows,) the labels."""
    return np.array([int(label) for row in batch.labels for label in row[1:] if label != IGNORED])


def nll(task: CausalLM, batch: Batch) -> np.ndarray:
    """(rows,) -log p of each label."""
    found: np.ndarray = -row_log_p(task, batch)[np.arange(len(targets(batch))), targets(batch)]
    return found


def loss_of(task: CausalLM, method: Method, forget: Batch = FORGET, retain: Batch | None = RETAIN) -> float:
    return method.loss(Step(task, forget, retain)).total.item()


def gradient(task: CausalLM, make: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Of a scalar, by the weights' names; 0 where it does not reach."""
    task.model.zero_grad()
    make().backward()
    named = task.model.named_parameters()
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in named}
    task.model.zero_grad()
    return found


def check_by_finite_differences(
    task: CausalLM, make: Callable[[], Tensor], names: tuple[str, ...], rel: float = 1e-5
) -> None:
    """The gradient of a scalar in two places of each of these weights."""
    analytic = gradient(task, make)
    generator = np.random.default_rng(0)
    for name in names:
        flat = task.model.get_parameter(name).detach().view(-1)
        able = np.flatnonzero(analytic[name].view(-1).abs().numpy() > 1e-8)
        assert len(able), f"{name} has no gradient"
        for place in generator.choice(able, min(2, len(able)), replace=False).tolist():
            kept, values = flat[place].item(), []
            for by in (1e-5, -1e-5):
                flat[place] = kept + by
                values.append(make().item())
            flat[place] = kept
            numeric = (values[0] - values[1]) / 2e-5
            assert analytic[name].view(-1)[place].item() == pytest.approx(numeric, rel=rel, abs=1e-8), name


def fixed(batch: Batch, size: int) -> Stream:
    """The examples of a batch in order, `size` a micro-batch; sums are divided by the totals of all."""

    def load(rows: Sequence[list[int]], own: Sequence[int]) -> Iterator[tuple[Batch, int]]:
        for at in own:
            places = slice(at * size, (at + 1) * size)
            width = int(batch.lengths[places].max())
            part = replace(
                batch,
                ids=batch.ids[places, :width],
                labels=batch.labels[places, :width],
                lengths=batch.lengths[places],
                examples=float(len(batch.ids)),
                tokens=float(batch.lengths.sum()),
                signals={name: values[places] for name, values in batch.signals.items()},
            )
            yield part, part.size

    return Stream(SimpleNamespace(batch=lambda number: [number]), load)  # type: ignore[arg-type]


def made(
    task: CausalLM, method: Method, forget: Batch, retain: Batch | None, size: int, progress: float = 0.0
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]], tuple[int, ...]]:
    """(gradient by name, figures, sizes) of one optimizer step of a method that makes its own gradient.

    Both sets have as many examples; `size` of each are a micro-batch.
    """
    batches = {"forget": forget} | ({} if retain is None else {"retain": retain})
    named = dict(task.model.named_parameters())
    task.model.zero_grad()
    own = OwnGradient(task, tuple(batches), method.make_gradient, lambda: progress)
    numbers = range(len(forget.ids) // size)
    streams = [fixed(batch, size) for batch in batches.values()]
    figures, sizes = own.made(task.model, named.values(), streams, Runtime(), (numbers, numbers))
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in named.items()}
    task.model.zero_grad()
    return found, figures, sizes
