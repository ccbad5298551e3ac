"""Methods as plain code has them: a copy of the model beside it as the reference, logits at every token, rows padded in the
order of the data, float32 throughout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Rows = Sequence[tuple[list[int], list[int]]]
"token ids and labels of each row; label -100: none"
Loss = Callable[[Any, Any, dict[str, Tensor], dict[str, Tensor]], Tensor]

BETA = 0.1
RMU_LAYER, TRAINED, STEERING, RMU_WEIGHT = 7, 3, 20.0, 100.0


def padded(rows: Rows) -> dict[str, Tensor]:
    """A batch as a collator of transformers makes it."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([each + [0] * (longest - len(each)) for each, _ in rows])
    labels = torch.tensor([each + [-100] * (longest - len(each)) for _, each in rows])
    mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each, _ in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _nll(logits: Tensor, labels: Tensor) -> Tensor:
    """(rows,) of each row, summed over its tokens."""
    flat = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none")
    return flat.sum(-1)


def _read(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def npo_forget(model: Any, reference: Any, forget: dict[str, Tensor]) -> Tensor:
    """NPO's first term (arXiv:2404.05868, equation 3)."""
    with torch.no_grad():
        before = _nll(reference(**_read(forget)).logits, forget["labels"])
    now = _nll(model(**_read(forget)).logits, forget["labels"])
    return -2 / BETA * F.logsigmoid(BETA * (now - before)).mean()


def npo(model: Any, reference: Any, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
    """NPO with the likelihood of the retain set."""
    return npo_forget(model, reference, forget) + model(**retain).loss


def npo_kl(model: Any, reference: Any, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
    """NPO with the KL divergence on the retain set, over labelled tokens."""
    loss = npo_forget(model, reference, forget)
    with torch.no_grad():
        before = reference(**_read(retain)).logits[:, :-1].log_softmax(-1)
    now = model(**_read(retain)).logits[:, :-1].log_softmax(-1)
    every = F.kl_div(now, before, reduction="none", log_target=True).sum(-1)
    labelled = retain["labels"][:, 1:] != -100
    return loss + every[labelled].mean()


def rmu(model: Any, reference: Any, forget: dict[str, Tensor], retain: dict[str, Tensor]) -> Tensor:
    """RMU (arXiv:2403.03218, section 4): hidden states after `RMU_LAYER` layers of whole forward passes."""

    def hidden(network: Any, batch: dict[str, Tensor]) -> Tensor:
        states: Tensor = network(**_read(batch), output_hidden_states=True).hidden_states[RMU_LAYER]
        return states[batch["attention_mask"].bool()]

    away = hidden(model, forget)
    drawn = torch.rand(away.shape[1], generator=torch.Generator().manual_seed(0))
    forgotten = (away - STEERING * drawn / drawn.norm()).square().mean()
    with torch.no_grad():
        before = hidden(reference, retain)
    return forgotten + RMU_WEIGHT * (hidden(model, retain) - before).square().mean()


def rmu_weights(model: Any) -> None:
    """Leave what RMU trains trainable, and freeze the rest."""
    inside = tuple(f"layers.{layer}.mlp.down_proj.weight" for layer in range(RMU_LAYER - TRAINED, RMU_LAYER))
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.endswith(inside))


LOSSES: dict[str, Loss] = {"npo": npo, "npo_kl": npo_kl, "rmu": rmu}
