"""Damage to text that should stay: recall of the retain set, perplexity and divergence on ordinary text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from expunge.kinds.language.attacks.facts import Row, batch_of, recall
from expunge.kinds.language.task import CausalLM
from expunge.measures.statistics import bootstrap_interval, paired_interval
from expunge.ops.divergences import row_divergence
from expunge.runs.audit import Audit
from expunge.runs.findings import DAMAGE, Finding

MOST_NATS = 50.0
"loss of an impossible token, or of a model with NaN probabilities"


def measured(base: CausalLM, subject: CausalLM, retain: Sequence[Row], ordinary: Sequence[Row]) -> dict[str, Any]:
    """Per row, for the base model and the subject: recall of the retain set, and loss on ordinary text."""
    kept = {"base": recall(base, retain), "unlearned": recall(subject, retain)}
    before, after, moved = zip(*(beside(base, subject, row) for row in ordinary), strict=True)
    return {"retain": kept, "nats": {"base": before, "unlearned": after}, "kl": moved}


def summed_up(found: Mapping[str, Any]) -> dict[str, Any]:
    """Means with their 95 % intervals, in pairs: share of recall retained, ratio of perplexities, KL(base || subject)
    in nats a token."""
    before, after = found["retain"]["base"], found["retain"]["unlearned"]
    rise = paired_interval(found["nats"]["base"], found["nats"]["unlearned"])
    mean = sum(before) / len(before)
    known = [(b, a) for b, a in zip(before, after, strict=True) if b > 0]
    # sum(after) / sum(before): a mean of ratios with weights, so that what was known before varies in the resamples,
    # too.
    kept = list(bootstrap_interval([a / b for b, a in known], [b for b, _ in known])) if known else None
    return {
        "retain": {
            "before": mean,
            "after": sum(after) / len(after),
            "kept": kept,
            "n": len(before),
        },
        "perplexity": {"ratio": [math.exp(min(MOST_NATS, limit)) for limit in rise], "n": len(found["kl"])},
        "kl": list(bootstrap_interval(found["kl"])),
    }


def damage_findings(settings: Audit, damage: Mapping[str, Any], of_retain: bool = False) -> list[Finding]:
    """The results of `summed_up` with their limits; not yet judged.

    Args:
        of_retain: whether perplexity is that of the retain set, since no other text was given.
    """
    retain, perplexity = damage["retain"], damage["perplexity"]
    kept, ratio = retain["kept"] or (None, None, None), perplexity["ratio"]
    return [
        Finding(
            name="retain_kept",
            kind=DAMAGE,
            title="Recall of the retain set kept",
            limit=settings.retain_kept,
            value=kept[0],
            low=kept[1],
            high=kept[2],
            bound="at least",
            unit="share of before",
            n=retain["n"],
            explain=f"{retain['before']:.1%} recalled before, {retain['after']:.1%} after",
        ),
        Finding(
            name="perplexity",
            kind=DAMAGE,
            title="Perplexity on the retain set" if of_retain else "Perplexity on ordinary text",
            limit=settings.perplexity,
            value=ratio[0],
            low=ratio[1],
            high=ratio[2],
            unit="times before",
            n=perplexity["n"],
            explain=f"KL divergence from the base model {damage['kl'][0]:.4f} nats a token",
        ),
    ]


@torch.inference_mode()
def beside(base: CausalLM, subject: CausalLM, row: Row) -> tuple[float, float, float]:
    """Mean negative log-likelihood of a row's labels by either model, and KL(base || subject) there, in nats a
    token."""
    batch = batch_of([row])
    log_q, log_p = (task.row_logits(batch).log_softmax(-1).double() for task in (base, subject))
    target = batch.labels[batch.labels >= 0].to(log_p.device)[:, None]
    before, after = (-float(each.gather(1, target).mean()) for each in (log_q, log_p))
    moved = float(row_divergence(log_p, log_q).mean())
    found = [value if math.isfinite(value) else MOST_NATS for value in (before, after, moved)]
    return found[0], found[1], found[2]
