"""Relearning: does a little training on half of what was forgotten bring back the rest?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from expunge.core.score import Score, Which
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.runs.check import Threshold, ratio_at_least
from expunge.runs.extras import Extra
from expunge.runs.measure import Measure

STEPS, RATE = 20, 1e-4

RELEARNED = Measure(
    "perplexity_relearned",
    "Perplexity after relearning",
    "Perplexity of one half of the forget set after a little training on the other. Best is what a retrained model has.",
    unit="perplexity over blocks",
    higher_is="better",
    family="forgetting",
    axis="perplexity",
    logarithmic=True,
    aim="as retrained",
)


def take(load: Callable[[], Any], sets: Any, which: Which) -> list[Score]:
    task, table = load(), sets.material.forget
    owned, others = table.take(range(0, len(table), 2)), table.take(range(1, len(table), 2))
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=RATE)
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        task.nll(owned.batch([step % len(owned)])).backward()
        optimizer.step()
    found = perplexity(task, others, "forget", which, 32)
    return [RELEARNED.score("forget", which, (found.value, found.low, found.high), found.examples)]


EXTRA = Extra(
    kinds=("causal_lm",),
    measures=(RELEARNED,),
    take=take,
    changes=True,
    thresholds=(
        Threshold(
            "perplexity_relearned",
            "Relearning",
            "at least: perplexity after relearning, as a share of the retrained model's, or of the model before where there "
            "is none",
            ratio_at_least(
                measure="perplexity_relearned",
                split="forget",
                explain="{before:.2f} {reference}, {after:.2f} after",
                to_reference=True,
            ),
            unit="share of the reference",
            default=0.9,
        ),
    ),
)
