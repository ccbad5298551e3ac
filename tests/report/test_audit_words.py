"""What an audit with an attack that had too few facts says: in its headline, its states and its JUnit XML."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from expunge.report.audit import conclusive_attacks, headline, junit_xml, state_of


def row(name: str, passed: bool | None, needs: int | None = None) -> dict[str, Any]:
    return {
        "name": name, "title": name.title(), "kind": "under-forgetting", "limit": 0.1, "value": 0.05, "low": 0.0,
        "high": 0.3, "unit": "share of what was known", "bound": "at most", "setting": "", "explain": "", "n": 24,
        "passed": passed, "needs": needs,
    }  # fmt: skip


def result(*rows: dict[str, Any], passed: bool, short: bool = False, left: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "findings": list(rows), "passed": passed, "short": short, "things": "facts", "seconds": 1.0,
        "attacks": [{"name": each["name"]} for each in rows if each["name"] != "as_is"],
        "not_tested": [{"name": name, "title": name.title(), "why": "the budget"} for name in left],
    }  # fmt: skip


AS_IS, RELEARN, CHOICE = row("as_is", True), row("relearn", True), row("choice", None, 310)


def test_an_attack_without_the_facts_for_it_is_named_and_said_not_to_be_tested() -> None:
    state, reason = headline(result(AS_IS, RELEARN, CHOICE, passed=False))
    assert state == "passed on what was tested"
    assert reason.startswith("2 of 3 findings hold the limits")
    assert reason.endswith("Not tested for lack of facts: choice (needs about 310).")
    assert headline(result(AS_IS, RELEARN, CHOICE, passed=True))[0] == "passed on what was tested"
    assert conclusive_attacks(result(AS_IS, RELEARN, CHOICE, passed=False)) == ["relearn"]
    assert [state_of(each) for each in (AS_IS, CHOICE, row("x", None), row("x", False))] == [
        "passed", "not tested", "undecided", "failed",
    ]  # fmt: skip


def test_what_failed_or_is_not_told_or_was_cut_short_stays_so() -> None:
    state, reason = headline(result(row("as_is", False), CHOICE, passed=False))
    assert (state, "choice (needs about 310)" in reason) == ("failed", True)
    assert headline(result(row("as_is", None), CHOICE, passed=False))[0] == "undecided"
    assert headline(result(AS_IS, CHOICE, passed=False, short=True, left=("lens",)))[0] == "undecided"
    assert headline(result(AS_IS, RELEARN, passed=True, left=("lens",)))[1].endswith("1 of 2 attacks were run.")


def test_junit_skips_it() -> None:
    suite = ElementTree.fromstring(junit_xml(result(AS_IS, CHOICE, row("x", None), passed=False, left=("lens",))))
    counts = {name: suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "0", "errors": "1", "skipped": "2"}
    found = {case.attrib["name"]: [child.tag for child in case] for case in suite}
    assert found == {"As_Is": [], "Choice": ["skipped"], "X": ["error"], "Lens": ["skipped"]}
