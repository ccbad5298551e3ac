"""Print the results of an audit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.printed import Printed
from expunge.core.safe_text import clean
from expunge.runs.folder import RunFolder


def print_audit(folder: RunFolder, result: Mapping[str, Any], printed: Printed, junit: Path | None) -> int:
    """Print the findings, and the paths; return the exit code (0 passed, 3 not)."""
    import json

    from rich.console import Console
    from rich.table import Table

    from expunge.report.audit import figure, headline, interval, junit_xml, limit_words, state_of

    if junit is not None:
        storage.write_text(junit, junit_xml(result))
    code = 0 if result["passed"] else 3
    if printed.json:
        print(json.dumps(result, ensure_ascii=False))
    if printed.json or printed.quiet:
        return code
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    table = Table(box=None, pad_edge=False)
    for name in ("", "finding", "limit", "measured", "n", "under"):
        table.add_column(name)
    for row in result["findings"]:
        measured = f"{figure(row['value'], row['unit'])} {interval(row)}".rstrip()
        state = "FAILED" if row["passed"] is False else state_of(row)
        words = state, clean(row["title"]), limit_words(row), measured, str(row["n"])
        table.add_row(*words, clean(row["setting"]))
    console.print(table)
    if result.get("facts_wanted", 0) > result["facts"]:
        some = f"{result['facts']} of {result['facts_wanted']} {result['things']} were asked for"
        console.print(f"  {some}: more did not fit into the budget", markup=False, soft_wrap=True)
    for left in result["not_tested"]:
        console.print(f"  not tested: {clean(left['title'])} ({clean(left['why'])})", markup=False, soft_wrap=True)
    state, reason = headline(result)
    console.print(f"\nAudit: {state}. {reason}", markup=False, soft_wrap=True)
    console.print(f"{result['seconds'] / 60:.1f} minutes\nReport: {folder.audit / 'report.html'}", soft_wrap=True)
    return code
