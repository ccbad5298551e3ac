"""The suite KnowUnDo, a suite of questions like TOFU."""

from __future__ import annotations

from expunge.suites.tofu.suite import questions_suite

SUITE = questions_suite("knowundo", "expunge.suites.knowundo.reading:questions")
