"""The suite: the NeurIPS 2023 unlearning challenge, on any pictures."""

from __future__ import annotations

from expunge.runs.suite import Suite

FIGURES, RESULTS = "contest.json", "results"
"files of a contest's folder in addition to those of a run: the figures, and the models' outputs"
RETRAINED = "retrained"
"the group of models that all others are compared with"

SUITE = Suite(
    name="challenge",
    command="expunge.suites.challenge.command:challenge",
    marks=(FIGURES, RESULTS),
    render="expunge.suites.challenge.report:render_contest",
    compare="expunge.suites.challenge.compare:compare_contests",
)
