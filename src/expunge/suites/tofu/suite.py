"""The suite: TOFU, a task of fictitious unlearning; and the common parts of all suites of questions."""

from __future__ import annotations

from expunge.runs.suite import Suite

CELLS = "cells"
"the folder of a suite's runs: one a method and seed"


def data_folder(name: str) -> str:
    """What a suite's folder holds from its beginning on, and no other suite's: the rows that are taught."""
    return f"data-{name}"


def questions_suite(name: str, questions: str | None = None) -> Suite:
    """A suite of questions, whose command is `expunge.suites.NAME.command:NAME`; `questions` as `Suite` has it."""
    return Suite(
        name=name,
        command=f"expunge.suites.{name}.command:{name}",
        marks=(f"{name}.json", data_folder(name)),
        render="expunge.suites.tofu.report:render_questions",
        compare="expunge.suites.tofu.compare:compare_questions",
        questions=questions,
    )


SUITE = questions_suite("tofu", "expunge.suites.tofu.reading:questions")
