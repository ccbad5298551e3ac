"""Whole runs on the tiny model: what is looked at of their folders."""

from __future__ import annotations

from collections.abc import Callable

from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder

CONTROL = {("familiarity_completion", "control"), ("familiarity_probability", "control")}
Forget = Callable[..., RunFolder]


def scores_of(folder: RunFolder, model: str) -> dict[tuple[str, str], float]:
    return {(s.measure, s.split): s.value for s in folder.read_scores() if s.model == model}


def without_control(scores: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Scores but those of the control, which is measured of the base model alone."""
    return {key: value for key, value in scores.items() if key not in CONTROL}


def failing(folder: RunFolder) -> list[str]:
    return [finding.what for finding in verify_run(folder) if finding.ok is False]
