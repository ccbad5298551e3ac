"""Min-K% probability."""

from __future__ import annotations

from typing import Any

from expunge.core.score import Score, Which
from expunge.measures.statistics import bootstrap_interval
from expunge.runs.check import Threshold, ratio_at_most
from expunge.runs.extras import Extra
from expunge.runs.measure import Measure

MIN_K = Measure(
    "min_k",
    "Min-K% probability",
    "How likely the model finds the least likely fifth of a text's tokens (Shi et al. 2024, arXiv:2310.16789). Best is what "
    "a model has that never saw the text.",
    unit="probability",
    family="forgetting",
)


def take(task: Any, sets: Any, which: Which) -> list[Score]:
    table, values = sets.material.forget, []
    for row in range(min(32, len(table))):
        ((log_probs, _),) = task.token_scores(table.batch([row]))
        lowest = log_probs.sort().values[: max(1, len(log_probs) // 5)]
        values.append(float(lowest.exp().mean()))
    return [MIN_K.score("forget", which, bootstrap_interval(values), values)]


EXTRA = Extra(
    kinds=("causal_lm",),
    measures=(MIN_K,),
    take=take,
    thresholds=(
        Threshold(
            "min_k",
            "Min-K% probability",
            "at most: what is left of the probability of the least likely tokens, as a share of the model before",
            ratio_at_most(measure="min_k", split="forget", explain="{before:.4f} before, {after:.4f} after"),
            unit="share of before",
            default=0.5,
        ),
    ),
)
