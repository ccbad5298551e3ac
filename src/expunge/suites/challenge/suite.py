"""The suite: the NeurIPS 2023 unlearning challenge, on any pictures."""

from __future__ import annotations

from expunge.runs.suite import Suite

SUITE = Suite(
    name="challenge",
    command="expunge.suites.challenge.command:challenge",
    marks=("contest.json", "results"),
    render="expunge.suites.challenge.report:render_contest",
    compare="expunge.suites.challenge.compare:compare_contests",
)
