"""What formulas of losses over text are made of, in numpy in float64; and gradients by finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from expunge.kinds.language.task import CausalLM
from expunge.runs.method import Method
from expunge.runs.registry import make_method
from expunge.train.step import IGNORED, Batch, Step
from tiny import make_batch, random_blocks

FORGET = make_batch(random_blocks([9, 6], seed=1))
RETAIN = make_batch(random_blocks([5, 8, 7], seed=2), first_label=2)


def small_gpt2(seed: int = 0) -> CausalLM:
    """A small GPT-2, since it computes in float64 throughout (Llama's norms do not)."""
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=200, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.2)
    return CausalLM(GPT2LMHeadModel(config).double().eval(), None)  # type: ignore[arg-type]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def mean_nll(task: CausalLM, batch: Batch) -> float:
    """(1 / |S|) sum over labelled tokens of -log p(label | what stands before)."""
    total, count = 0.0, 0
    for row, length in enumerate(batch.lengths.tolist()):
        with torch.no_grad():
            log_p = log_softmax(task.model(batch.ids[row : row + 1, :length]).logits[0].numpy())
        for t in range(1, length):
            label = int(batch.labels[row, t])
            if label != IGNORED:
                total -= log_p[t - 1, label]
                count += 1
    return total / count


Spec = dict[str, Any] | Method
"a method as in a recipe, or itself"


def method_of(spec: Spec) -> Method:
    return spec if isinstance(spec, Method) else make_method(spec)


def loss_of(task: CausalLM, spec: Spec, forget: Batch = FORGET, retain: Batch | None = RETAIN) -> float:
    return method_of(spec).loss(Step(task, forget, retain)).total.item()


def row_log_p(task: CausalLM, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(log p of the whole vocabulary in the place of every labelled token, the labels), in order."""
    values, labels = [], []
    for row, length in enumerate(batch.lengths.tolist()):
        with torch.no_grad():
            log_p = log_softmax(task.model(batch.ids[row : row + 1, :length]).logits[0].numpy())
        for t in range(1, length):
            if batch.labels[row, t] != IGNORED:
                values.append(log_p[t - 1])
                labels.append(int(batch.labels[row, t]))
    return np.array(values), np.array(labels)


def row_nll(task: CausalLM, batch: Batch) -> np.ndarray:
    """-log p(label | what stands before) of every labelled token, in order."""
    values = []
    for row, length in enumerate(batch.lengths.tolist()):
        with torch.no_grad():
            log_p = log_softmax(task.model(batch.ids[row : row + 1, :length]).logits[0].numpy())
        values += [
            -log_p[t - 1, int(batch.labels[row, t])] for t in range(1, length) if batch.labels[row, t] != IGNORED
        ]
    return np.array(values)


def example_nll(task: CausalLM, batch: Batch) -> np.ndarray:
    """(examples,) -log p of each block's labels."""
    lengths = (batch.labels[:, 1:] != IGNORED).sum(1).tolist()
    return np.array([part.sum() for part in np.split(row_nll(task, batch), np.cumsum(lengths)[:-1])])


def example_rows(batch: Batch) -> np.ndarray:
    """(examples,) labelled tokens."""
    found: np.ndarray = (batch.labels[:, 1:] != IGNORED).sum(1).numpy()
    return found


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -x)


def gradient(
    task: CausalLM, spec: Spec, retain: Batch | None = RETAIN, forget: Batch = FORGET
) -> dict[str, torch.Tensor]:
    task.model.zero_grad()
    method_of(spec).loss(Step(task, forget, retain)).total.backward()
    found = {name: p.grad.clone() for name, p in task.model.named_parameters() if p.grad is not None}
    task.model.zero_grad()
    return found


def check_gradient(task: CausalLM, spec: Spec, forget: Batch, retain: Batch | None = RETAIN) -> None:
    """The gradient of a method's loss against central differences, at some weights."""
    analytic = gradient(task, spec, retain, forget)
    parameters = dict(task.model.named_parameters())
    generator = np.random.default_rng(0)
    for name in ("transformer.wte.weight", "transformer.h.0.attn.c_attn.weight", "transformer.h.1.ln_2.bias"):
        flat = parameters[name].detach().view(-1)
        # Of the embedding a weight of a token that occurs; elsewhere any.
        places = generator.choice(np.flatnonzero(analytic[name].view(-1).abs().numpy() > 1e-9), 2)
        for place in places.tolist():
            kept, values = flat[place].item(), []
            for step in (1e-5, -1e-5):
                flat[place] = kept + step
                values.append(loss_of(task, spec, forget, retain))
            flat[place] = kept
            numeric = (values[0] - values[1]) / 2e-5
            assert analytic[name].view(-1)[place].item() == pytest.approx(numeric, rel=1e-5, abs=1e-9), name
