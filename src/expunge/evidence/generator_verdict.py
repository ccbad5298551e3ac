"""The verdict on a generator: thresholds fixed in the recipe before the run, each held against the scores after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from expunge.evidence.verdict import Check
from expunge.generator_recipe import GeneratorVerdict
from expunge.measures.score import Score, Which
from expunge.measures.statistics import exact_lower_limit

FORGET = ("forget", "forget_test")


def judge_generator(
    scores: Sequence[Score],
    verdict: GeneratorVerdict,
    share_of_retraining: float | None,
    chances: Mapping[str, float],
) -> dict[str, Any]:
    """{"passed", "checks"}. What must be kept and what must go is always checked; what was not measured fails.

    Args:
        chances: of identification, by split.
    """
    found = {(s.measure, s.split, s.model): s for s in scores}

    def values(measure: str, split: str) -> tuple[float, float] | None:
        before, after = (found.get((measure, split, model)) for model in ("base", "unlearned"))
        return None if before is None or after is None else (before.value, after.value)

    checks = []
    pair = values("frechet", "retain_test")
    limit = verdict.retain_frechet
    if pair is None or not pair[0]:
        checks.append(Check("retain_frechet", limit, None, False, "not measured"))
    else:
        ratio = pair[1] / pair[0]
        explain = f"{pair[0]:.4g} before, {pair[1]:.4g} after, on pictures held back"
        checks.append(Check("retain_frechet", limit, ratio, ratio <= limit, explain))
    pair = values("psnr", "retain_test")
    limit = verdict.retain_psnr
    if pair is None:
        checks.append(Check("retain_psnr", limit, None, False, "not measured"))
    else:
        lost = pair[0] - pair[1]
        explain = f"{pair[0]:.2f} dB before, {pair[1]:.2f} dB after, on pictures held back"
        checks.append(Check("retain_psnr", limit, lost, lost <= limit, explain))
    ratios = {split: pair for split in FORGET if (pair := values("frechet", split)) and pair[0]}
    limit = verdict.forget_frechet
    if not ratios:
        checks.append(Check("forget_frechet", limit, None, False, "not measured"))
    else:
        least = min(ratios, key=lambda split: ratios[split][1] / ratios[split][0])
        before, after = ratios[least]
        explain = f"{before:.4g} before, {after:.4g} after" + (", on pictures held back" if least != "forget" else "")
        checks.append(Check("forget_frechet", limit, after / before, after / before >= limit, explain))
    checks.append(_recognition(found, chances))
    if share_of_retraining is not None:
        limit = verdict.share_of_retraining
        explain = f"{share_of_retraining:.1%} of the image passes of training the model anew, as the recipe trains one"
        checks.append(Check("share_of_retraining", limit, share_of_retraining, share_of_retraining <= limit, explain))
    return {"passed": all(check.passed for check in checks), "checks": [asdict(check) for check in checks]}


def _recognition(found: Mapping[tuple[str, str, Which], Score], chances: Mapping[str, float]) -> Check:
    """Of the splits to forget, the one on which the exact interval lies highest above chance."""
    name, lows = "forget_recognition", {}
    for split in FORGET:
        score = found.get(("identity_recognition", split, "unlearned"))
        if score is not None and split in chances:
            lows[split] = exact_lower_limit(round(score.value * score.n), score.n)
    if not lows:
        return Check(name, 0.0, None, False, "not measured")
    worst = max(lows, key=lambda split: lows[split] - chances[split])
    score, low, chance = found["identity_recognition", worst, "unlearned"], lows[worst], chances[worst]
    explain = (
        f"{round(score.value * score.n)} of {score.n} identified{', held back' if worst != 'forget' else ''}: "
        f"{score.value:.1%}; the exact interval reaches down to {low:.1%}; {chance:.1%} is chance"
    )
    return Check(name, chance, low, low <= chance, explain)
