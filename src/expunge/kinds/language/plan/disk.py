"""Disk space of a run."""

from __future__ import annotations

import torch

from expunge.kinds.language.narrow_training import weight_type
from expunge.kinds.language.plan.model import PlannedModel
from expunge.kinds.language.plan.stages import WIDE, Work
from expunge.kinds.language.signals.layer_states import RetainLayerStates
from expunge.kinds.language.signals.registry import signals_of
from expunge.kinds.language.signals.retain_labels import TAIL, TOP, RetainLabels

INDEX = 4
"bytes of a token's number"


def disk(work: Work, model: PlannedModel) -> dict[str, int]:
    """Bytes by purpose, at most.

    A checkpoint is written before the one in its place is deleted. The model is saved in its own type unless rounding
    would undo the change; both are listed.
    """
    trained, weights = work.step.numbers["trained"], work.look.numbers["weights"]
    weight = WIDE if not work.setting.rounds else weight_type(work.setting.training).itemsize
    found = {"checkpoints, two for a moment": 2 * trained * (weight + 2 * WIDE)}
    if model.stored != torch.float32 and work.recipe.save_dtype == "auto":
        found[f"model as {str(model.stored).removeprefix('torch.')}"] = weights * model.stored.itemsize
        found["model as float32, if rounding would undo the change"] = weights * WIDE
    else:
        name = work.recipe.save_dtype
        dtype = model.stored if name == "auto" else getattr(torch, name)
        found[f"model as {str(dtype).removeprefix('torch.')}"] = weights * dtype.itemsize
    width = model.kind.config.get_text_config().hidden_size
    tokens = {"forget": work.forget.tokens, "retain": work.retain.tokens}
    found["tokens and labels"] = 2 * INDEX * sum(tokens.values())
    for signal in signals_of(work.setting.method.carried_out):
        held = tokens[signal.set]
        if isinstance(signal, RetainLabels) or signal.name == "reference_tokens":
            found[signal.name.replace("_", " ")] = held * (TOP + TAIL) * (INDEX + WIDE)
        elif signal.name in ("distributions", "hidden_states"):
            found[signal.name.replace("_", " ")] = held * width * WIDE
        elif isinstance(signal, RetainLayerStates):
            found[signal.name.replace("_", " ")] = held * len(signal.layers) * width * WIDE
    return found
