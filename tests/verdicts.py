"""Verdicts of every kind of model, of scores and thresholds alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expunge.core.score import Score
from expunge.kinds.classifier.recipe import ImageVerdict
from expunge.kinds.generator.recipe import GeneratorVerdict
from expunge.kinds.language.recipe import Verdict
from expunge.runs.kinds import kinds_by_name


def judge(scores: Sequence[Score], verdict: Verdict) -> dict[str, Any]:
    return kinds_by_name()["causal_lm"].make_evidence().judge(scores, verdict.model_dump(), {})


def judge_images(
    scores: Sequence[Score], verdict: ImageVerdict, share: float | None, exact: Any = None
) -> dict[str, Any]:
    record = {"cost": {"share_of_retraining": share}, "exact": exact}
    return kinds_by_name()["image_classifier"].make_evidence().judge(scores, verdict.model_dump(), record)


def judge_generator(
    scores: Sequence[Score], verdict: GeneratorVerdict, share: float | None, chances: Mapping[str, float]
) -> dict[str, Any]:
    record = {"cost": {"share_of_retraining": share}, "chances": chances}
    return kinds_by_name()["image_to_image"].make_evidence().judge(scores, verdict.model_dump(), record)
