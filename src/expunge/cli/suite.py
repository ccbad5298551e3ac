"""`expunge suite`."""

from __future__ import annotations

from cyclopts import App

from expunge.runs.suite import suites

suite = App(name="suite", help="Run a benchmark suite; `expunge suite NAME --help` lists its options.")
for name, each in suites().items():
    suite.command(each.function(), name=name)
