"""An audit as a page, as a part of the run's report, and as JUnit XML: from `audit/audit.json` and nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from expunge.core import storage
from expunge.core.safe_text import clean
from expunge.report import audit_figures, numbers
from expunge.report.page import render_page
from expunge.runs.audit import AS_IS, Attacked, Limits, Trial
from expunge.runs.findings import DAMAGE, Finding, findings, passed
from expunge.runs.folder import RunFolder

KINDS = {
    "under-forgetting": "Is it gone? What each attack brought back",
    "over-forgetting": "Was too much removed? Signs that it was there",
    "damage": "Damage: what should have stayed",
}


def read_audit(folder: RunFolder) -> dict[str, Any] | None:
    """The audit of a run, if there was one."""
    path = folder.audit / "audit.json"
    if not path.is_file():
        return None
    content = storage.read_json(path)
    return content if isinstance(content, dict) and "findings" in content else None


def audit_of_run(folder: RunFolder, record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The audit of the model that a run's record describes; None if there was none, or one of another model."""
    found, digests = read_audit(folder), (record or {}).get("digests")
    listed = digests.get("model") if isinstance(digests, Mapping) else None
    if found is None or not isinstance(listed, Mapping):
        return None
    audited = found.get("digests", {}).get("model", {})
    weights = {name: digest for name, digest in listed.items() if name.endswith(".safetensors")}
    return found if weights and all(audited.get(name) == digest for name, digest in weights.items()) else None


def render_audit(folder: RunFolder) -> Path:
    """Write `audit/report.html` and return its path."""
    result = read_audit(folder)
    assert result is not None
    path = folder.audit / "report.html"
    storage.write_text(path, audit_page(result))
    return path


def audit_page(result: Mapping[str, Any]) -> str:
    """The page of an audit, as HTML."""
    return render_page("audit.html.jinja", audit=audit_part(result))


def headline(result: Mapping[str, Any]) -> tuple[str, str]:
    """(state in words, why)."""
    rows = result["findings"]
    failed = [row["title"].lower() for row in rows if row["passed"] is False]
    few = [row for row in rows if row.get("needs") is not None]
    open_ = [row["title"].lower() for row in rows if row["passed"] is None and row not in few]
    untested = ", ".join(f"{row['title'].lower()} (needs about {row['needs']})" for row in few)
    if failed:
        text = f"Not met: {', '.join(failed)}." + (f" Undecided: {', '.join(open_)}." if open_ else "")
        return "failed", text + (f" Not tested for lack of {result['things']}: {untested}." if few else "")
    if few and len(few) < len(rows) and not open_ and not result["short"]:
        held = f"{len(rows) - len(few)} of {len(rows)} findings hold the limits that were fixed before the first attack"
        return "passed on what was tested", f"{held}. Not tested for lack of {result['things']}: {untested}."
    if result["passed"]:
        every = {row["name"] for row in (*result["attacks"], *result["not_tested"])}
        held = f"All {len(rows)} findings hold the limits that were fixed before the first attack"
        return "passed", f"{held}; {len(result['attacks'])} of {len(every)} attacks were run."
    open_ += [untested] if few else []
    short = "requested attacks were not run" if result["attacks"] else "no attack was run"
    return "undecided", f"The evidence is not enough: {', '.join(open_) or short}."


def state_of(row: Mapping[str, Any]) -> str:
    """The state of a finding, in words."""
    if row.get("needs") is not None:
        return "not tested"
    states: dict[bool | None, str] = {True: "passed", False: "failed", None: "undecided"}
    return states[row["passed"]]


def conclusive_attacks(result: Mapping[str, Any]) -> list[str]:
    """Names of the attacks that were run, without those with too few facts for a result."""
    untested = {row["name"] for row in result["findings"] if row.get("needs") is not None}
    return [attack["name"] for attack in result["attacks"] if attack["name"] not in untested]


def audit_follows(result: Mapping[str, Any]) -> bool:
    """Whether findings and verdict follow from the values of an audit and its limits."""
    every = list(range(max(map(len, result["known"].values()))))
    known = {
        which: Trial(setting=AS_IS, values=values, facts=every[: len(values)])
        for which, values in result["known"].items()
    }
    attacked = [Attacked.of(row) for row in result["attacks"]]
    settings = result["settings"]
    limits = Limits(**{name: settings[name] for name in Limits.model_fields})
    damaged = [
        Finding(**{**row, "limit": settings[row["name"]], "passed": None})
        for row in result["findings"]
        if row["kind"] == DAMAGE
    ]
    found = findings(limits, known, attacked, damaged, result["paired"], result.get("groups"))
    holds = passed(found, limits.untested_passes) and bool(attacked) and not result["short"]
    return [each.row() for each in found] == result["findings"] and holds == result["passed"]


def figure(value: float | None, unit: str) -> str:
    """A figure of a finding in its unit."""
    if value is None:
        return numbers.UNKNOWN
    if unit.startswith("share"):
        return numbers.share(value)
    return numbers.plain(value)


def limit_words(row: Mapping[str, Any]) -> str:
    """The limit of a finding, in words."""
    return f"{row['bound']} {figure(row['limit'], row['unit'])}"


def interval(row: Mapping[str, Any]) -> str:
    """The interval of a finding; empty if there is no figure."""
    return "" if row["value"] is None else f"[{figure(row['low'], row['unit'])}, {figure(row['high'], row['unit'])}]"


def audit_part(result: Mapping[str, Any]) -> dict[str, Any]:
    """Values of an audit for a template."""
    state, reason = headline(result)
    rows = [
        row
        | {
            "limit_words": limit_words(row),
            "value_words": figure(row["value"], row["unit"]),
            "interval": interval(row),
            "state": state_of(row),
        }
        for row in result["findings"]
    ]
    curves = [
        (attack["title"], audit_figures.curves(f"curves-{attack['name']}", attack)) for attack in result["attacks"]
    ]
    return {
        "state": state,
        "css": "passed" if result["passed"] else "failed" if state == "failed" else "none",
        "reason": reason,
        "groups": [(title, [row for row in rows if row["kind"] == kind]) for kind, title in KINDS.items()],
        "overview": audit_figures.overview("audit-overview", result),
        "curves": [(title, drawn) for title, drawn in curves if drawn],
        "attacks": result["attacks"],
        "means": audit_figures.means,
        "result": result,
        "fixed": _date(result["fixed_at"]),
        "earlier": [_date(each["time"]) for each in result["earlier_limits"]],
    }


def _date(seconds: float) -> str:
    return time.strftime("%d %B %Y, %H:%M UTC", time.gmtime(seconds))


def junit_xml(result: Mapping[str, Any]) -> str:
    """The findings as one JUnit test suite: failed ones as failures, undecided ones as errors, and those not
    tested, for lack of facts or time or anything else, as skipped."""
    rows, left = result["findings"], result["not_tested"]
    suite = ElementTree.Element(
        "testsuite",
        name="expunge audit",
        tests=str(len(rows) + len(left)),
        failures=str(sum(row["passed"] is False for row in rows)),
        skipped=str(len(left) + sum(state_of(row) == "not tested" for row in rows)),
        errors=str(sum(state_of(row) == "undecided" for row in rows)),
        time=str(result["seconds"]),
    )
    for row in rows:
        case = ElementTree.SubElement(suite, "testcase", classname=f"audit.{row['kind']}", name=clean(row["title"]))
        text = f"{figure(row['value'], row['unit'])}, limit {figure(row['limit'], row['unit'])}; {row['explain']}"
        if row["passed"] is not True:
            tag = {"failed": "failure", "undecided": "error", "not tested": "skipped"}[state_of(row)]
            ElementTree.SubElement(case, tag, message=clean(text)).text = clean(row["setting"])
    for each in left:
        case = ElementTree.SubElement(suite, "testcase", classname="audit.not-tested", name=clean(each["title"]))
        ElementTree.SubElement(case, "skipped", message=clean(each["why"]))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"
