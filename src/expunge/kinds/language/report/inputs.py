"""Report part on the files that a run's sets were read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.report import numbers
from expunge.report.contents import Contents

SHOWN = 200
"files of a kind that a report names; record.json names more"
HIDDEN = "hidden"


def inputs(contents: Contents) -> list[dict[str, Any]]:
    """A part for each given set: `summary`, `read`, `unread`, and `more` if not all are shown."""
    return [_part(entry) for entry in contents.part("inputs") or () if isinstance(entry, Mapping)]


def _part(entry: Mapping[str, Any]) -> dict[str, Any]:
    read, unread = list(entry.get("read") or ()), list(entry.get("unread") or ())
    name = f"{entry.get('set')} ({entry.get('target')})"
    if entry.get("files_read") is None:
        return {
            "summary": f"{name}: a dataset of the hub",
            "read": [],
            "unread": [],
            "more": "Its files are not listed; the digest of the set is below.",
        }
    count, left = int(entry["files_read"]), int(entry.get("files_unread") or 0)
    summary = f"{name}: {_files(count)} read, {numbers.bytes_(entry.get('bytes_read'))}; {left or 'none'} not read"
    hidden = max(0, count - SHOWN) + max(0, left - SHOWN)
    return {
        "summary": summary,
        "read": read[:SHOWN],
        "unread": unread[:SHOWN],
        "more": f"{numbers.count(hidden)} more files are in record.json." if hidden else "",
    }


def left_out(contents: Contents) -> str:
    """A sentence, with a space before it, on files that were not read; empty if all but hidden ones were."""
    sentences = []
    for entry in contents.part("inputs") or ():
        rows = [row for row in entry.get("unread") or () if row.get("reason") != HIDDEN]
        if not rows:
            continue
        named = ", ".join(f"{row.get('file')} ({row.get('reason')})" for row in rows[:3])
        rest = f", and {len(rows) - 3} more" if len(rows) > 3 else ""
        were = "was" if len(rows) == 1 else "were"
        name = str(entry.get("set"))
        of_set = f"{name} set" if " " not in name else name
        sentences.append(f"Of the {of_set} {_files(len(rows))} {were} not read: {named}{rest}.")
    return "".join(f" {each}" for each in sentences)


def _files(count: int) -> str:
    return f"{numbers.count(count)} file{'' if count == 1 else 's'}"
