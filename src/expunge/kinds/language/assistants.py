"""Make the assistant of a language model: its first layers alone, trained and attached to it."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from expunge.errors import ModelError, RecipeError
from expunge.kinds.language.session import LanguageWork, spread_evenly
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.models.assistant import KEEPS, Difference, put_beside
from expunge.runs.method import Method

__all__ = ["KEEPS", "Difference", "first_layers", "stand_beside", "train_assistant"]
PHASE = "assistant"
"name of its training"
LOOKED_AT = 8
"blocks of the forget set that assistant and model are compared on"
SHARE = 4
"the default: one layer in this many"


def train_assistant(work: LanguageWork, method: Method, layers: int | None, how: Difference) -> None:
    """Train a copy of the model's first layers with a loss and attach it to the model, whose weights do not change.

    The copy is meant to lose the retain set: the guard only checks for finite numbers, and no likelihood ends it.

    Args:
        layers: number of layers; None: a quarter of them.

    Raises:
        RecipeError: the model has fewer. ModelError: it cannot be cut.
    """
    assistant = first_layers(work.task, layers)
    unguarded = {"max_retain_increase": math.inf, "stop_forget_loss": None}
    training = work.training.model_copy(update=unguarded)
    own = replace(work, task=assistant, training=training, probe=None, on_adapter=None, choice=None, ends=False)
    own.carry_out(method, PHASE)
    known, model = (_forget_loss(each, work.forget) for each in (assistant, work.task))
    settings = {"layers": len(assistant.layers), "weight": how.weight, "plausible": how.plausible}
    work.log(PHASE, **settings, forget_loss=known, forget_loss_of_model=model)
    if known > model:
        text = (
            f"the assistant remembers the forget set less well ({known:.2f} nats a token) than the model does "
            f"({model:.2f}): what it removes is something else; train it for longer, or at a higher "
            "training.learning_rate"
        )
        work.log("notice", text=text)
    stand_beside(work.task, assistant, how)


@torch.no_grad()
def _forget_loss(task: CausalLM, forget: TokenTable) -> float:
    """Mean loss on a few blocks, in nats a labelled token."""
    task.model.eval()
    table = spread_evenly(forget, LOOKED_AT)
    return float(task.row_nll(table.batch(range(len(table)))).mean())


def stand_beside(task: CausalLM, assistant: CausalLM, how: Difference) -> None:
    """From here on the task's model is both together."""
    assistant.model.to(task.model.device).eval()
    put_beside(task.model, assistant.model, how)
    vars(task).pop("head", None)
    task.plain_head, task.stored = False, None  # as of a task that is made of both


def first_layers(task: CausalLM, count: int | None = None) -> CausalLM:
    """A copy of a model with its first layers alone, its embeddings, last norm and head; a plain model of the same
    kind.

    Raises:
        RecipeError: the model has fewer layers. ModelError: its kind cannot be cut, as far as its configuration says.
    """
    decoder = task.decoder
    whole = decoder.layers
    count = max(1, round(len(whole) / SHARE)) if count is None else count
    if count > len(whole):
        raise RecipeError(
            "the model has fewer layers than its assistant would have",
            seen=f"{count} of {len(whole)}",
            allowed=f"1 to {len(whole)}",
            next_step="leave --method.layers out: a quarter of them",
        )
    parent, _, leaf = decoder.prefix.rpartition(".")
    holder = task.model.get_submodule(parent)
    setattr(holder, leaf, nn.ModuleList(list(whole)[:count]))
    try:
        cut = copy.deepcopy(task.model)
    finally:
        setattr(holder, leaf, whole)
    _shorten(cut.config.get_text_config(decoder=True), len(whole), count)
    _check(cut)
    return CausalLM(cut.requires_grad_(True), task.tokenizer, task.autocast)


def _shorten(config: Any, layers: int, count: int) -> None:
    """Cut a configuration down to the first layers: their number, and lists with an entry per layer."""
    for name, value in list(vars(config).items()):
        if "layer" in name and isinstance(value, list | tuple) and len(value) == layers:
            setattr(config, name, value[:count])
    config.num_hidden_layers = count


def _check(model: nn.Module) -> None:
    """Raise unless a model matches its configuration."""
    try:
        with torch.device("meta"):
            made = type(model)(model.config)
        same = {name: value.shape for name, value in made.state_dict().items()} == {
            name: value.shape for name, value in model.state_dict().items()
        }
        seen = "other weights than its configuration says"
    except Exception as error:  # whatever a cut configuration raises
        same, seen = False, f"{type(error).__name__}: {error}"
    if not same:
        raise ModelError(
            f"the first layers of {type(model).__name__} are not a model by themselves, as an assistant has to be",
            seen=seen,
            next_step="choose a method without an assistant: npo, simnpo",
        )
