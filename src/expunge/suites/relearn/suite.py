"""The suite: how much of what each method forgot is brought back by relearning."""

from __future__ import annotations

from expunge.runs.suite import Suite
from expunge.suites.tofu.suite import data_folder

NAME = "relearn"
SUITE = Suite(
    name=NAME,
    command="expunge.suites.relearn.command:relearn",
    marks=(f"{NAME}.json", data_folder(NAME)),
    render="expunge.suites.relearn.report:render_relearn",
)
