"""The suite LUME, a suite of questions like TOFU."""

from __future__ import annotations

from expunge.suites.tofu.suite import questions_suite

SUITE = questions_suite("lume", "expunge.suites.lume.reading:questions")
