"""The suite: TOFU, a task of fictitious unlearning."""

from __future__ import annotations

from expunge.runs.suite import Suite

FIGURES = "tofu.json"
"what a suite's folder holds besides what every run's does: the figures"
CELLS = "cells"
"the folder of its runs: one a method and seed"

SUITE = Suite(
    name="tofu",
    command="expunge.suites.tofu.command:tofu",
    marks=(FIGURES, CELLS),
    render="expunge.suites.tofu.report:render_questions",
)
