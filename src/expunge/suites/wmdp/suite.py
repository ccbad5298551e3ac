"""The suite WMDP; its models are run, measured and shown as those of TOFU."""

from __future__ import annotations

from expunge.suites.tofu.suite import questions_suite

SUITE = questions_suite("wmdp", "expunge.suites.wmdp.reading:questions")
