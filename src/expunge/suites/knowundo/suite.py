"""The suite KnowUnDo, a suite of questions as TOFU is."""

from __future__ import annotations

from expunge.suites.tofu.suite import questions_suite

SUITE = questions_suite("knowundo", "expunge.suites.knowundo.reading:questions")
