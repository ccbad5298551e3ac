"""The suite RWKU; its models are run, measured and shown as those of TOFU."""

from __future__ import annotations

from expunge.suites.tofu.suite import questions_suite

SUITE = questions_suite("rwku", "expunge.suites.rwku.reading:questions")
