"""What runs showed, in words, tables and figures, read from run folders."""

from expunge.report.compare import compare_runs
from expunge.report.render import render_report

__all__ = ["compare_runs", "render_report"]
