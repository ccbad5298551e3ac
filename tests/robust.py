"""What the tests of RepSelect, CIR and MUDMAN share: a small model in float64, the sets, and a transcription in numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from tiny import random_blocks, write_table

FORGET = random_blocks([12, 9, 12, 10, 8, 11], vocabulary=90, seed=1)
RETAIN = random_blocks([11, 12, 8, 9], vocabulary=90, seed=2)


def gpt2(layers: int = 2) -> PreTrainedModel:
    """A small GPT-2, since it computes in float64 throughout."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=96, n_embd=16, n_layer=layers, n_head=2, n_positions=32, initializer_range=0.2)
    return GPT2LMHeadModel(config).double().eval()


class Log:
    """The events that a method logs."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def __call__(self, event: str, **values: Any) -> None:
        self.rows.append({"event": event, **values})

    def of(self, event: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["event"] == event]


def make_work(model: PreTrainedModel, folder: Path, run: str = "run", **changes: Any) -> LanguageWork:
    """A session; the same `run` is the same run, resumed."""
    training = {"per_device_train_batch_size": 2, "save_seconds": 1e-6, **changes.pop("training", {})}
    settings: dict[str, Any] = {
        "task": CausalLM(model, None),  # type: ignore[arg-type]
        "forget": table(folder, "forget", FORGET),
        "retain": table(folder, "retain", RETAIN),
        "training": Training(**training),
        "seed": 0,
        "checkpoints": folder / run,
        "log": Log(),
    }
    return LanguageWork(**(settings | changes))


def table(folder: Path, name: str, blocks: list[list[int]]) -> TokenTable:
    return TokenTable(folder / name) if (folder / name).exists() else write_table(folder / name, blocks)


def log_p(model: PreTrainedModel, block: list[int]) -> np.ndarray:
    """(tokens - 1, vocabulary) what the model says before each token but the first."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([block]), use_cache=False).logits[0, :-1].double().numpy()
    return np.asarray(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))


def kl(before: list[np.ndarray], after: list[np.ndarray]) -> float:
    """Mean KL(before || after) over all rows."""
    return float(np.concatenate([(np.exp(q) * (q - p)).sum(-1) for q, p in zip(before, after, strict=True)]).mean())


def nll(model: PreTrainedModel, blocks: list[list[int]]) -> float:
    """Mean negative log-likelihood of all tokens but the first of each block."""
    found = [-log_p(model, block)[range(len(block) - 1), block[1:]] for block in blocks]
    return float(np.concatenate(found).mean())


def gradient(model: PreTrainedModel, loss: Callable[[], torch.Tensor], names: list[str]) -> dict[str, np.ndarray]:
    """Of weights, by name."""
    found = torch.autograd.grad(loss(), [model.get_parameter(name) for name in names])
    return {name: value.numpy().copy() for name, value in zip(names, found, strict=True)}


def loss_of(model: PreTrainedModel, blocks: list[list[int]]) -> torch.Tensor:
    """The mean over all tokens but the first of each block, by torch's own cross-entropy."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for block in blocks:
        ids = torch.tensor([block])
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum")
        count += len(block) - 1
    return total / count


def weights_of(model: PreTrainedModel) -> dict[str, np.ndarray]:
    return {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}
