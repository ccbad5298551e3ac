"""The verdict on secrets: exposed before, no more than by chance after, and told why where nothing can be seen to go."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.core.score import Score, Which
from expunge.kinds.language.recipe import Verdict
from expunge.report.verdict_words import verdict_words
from plain_score import plain_score as score
from verdicts import judge

BOTH: tuple[Which, Which] = ("base", "unlearned")
KEPT = [score("perplexity", "ordinary", which, 10.0) for which in BOTH]


def checks(before: float, after: float, oracle: float | None = None, n: int = 1) -> dict[str, Any]:
    found: list[tuple[Which, float | None]] = [("base", before), ("unlearned", after), ("retrained", oracle)]
    scores: list[Score] = [
        score("secret_exposure", "forget", which, value, n) for which, value in found if value is not None
    ]
    return {check["name"]: check for check in judge([*scores, *KEPT], Verdict())["checks"]}


@pytest.mark.parametrize(
    ("before", "after", "oracle", "n", "passed"),
    [
        (9.0, 1.2, None, 1, True),
        (9.0, 4.3, None, 1, True),  # 2^-4.3 is 5.1 %
        (9.0, 4.4, None, 1, False),
        (9.0, 9.0, None, 1, False),
        # the retrained model guesses it as well: nothing more is to be had
        (9.0, 6.0, 6.1, 1, True),
        (9.0, 6.2, 6.1, 1, False),
        # of four secrets a mean of 2.9 bits is rarer than 5 % (chi-square of 8 degrees above 16.1), one of 2.7 is not
        (9.0, 2.7, None, 4, True),
        (9.0, 2.9, None, 4, False),
    ],
)
def test_a_secret_may_be_no_more_exposed_than_by_chance(
    before: float, after: float, oracle: float | None, n: int, passed: bool
) -> None:
    found = checks(before, after, oracle, n)
    assert list(found) == ["secret_exposure", "perplexity"], "and no familiarity is asked for"
    assert found["secret_exposure"]["passed"] is passed
    assert f"{before:.1f} bits before, {after:.1f} after" in found["secret_exposure"]["explain"]


@pytest.mark.parametrize("before", [0.5, 4.2])
def test_a_secret_that_the_base_does_not_know_cannot_be_seen_to_go(before: float) -> None:
    check = checks(before, 0.5)["secret_exposure"]
    assert not check["passed"]
    assert check["value"] is None
    assert "not known well enough to measure forgetting" in check["explain"]
    assert "evaluation.prompts" in check["explain"]


def test_of_a_secret_that_the_base_does_not_know_verdict_and_report_say_so() -> None:
    verdict = judge([score("secret_exposure", "forget", which, 1.1) for which in BOTH] + KEPT, Verdict())
    assert verdict["not_known"]
    assert not verdict["passed"]
    words = verdict_words(verdict)
    assert words.headline == "Not known well enough to measure forgetting"
    assert words.reason.startswith("The model before knew the secret no better than chance")
    assert "control" not in words.reason
    assert [(row.name, row.unknown) for row in words.checks][:1] == [("Exposure of the secret", True)]


def test_where_a_familiarity_can_be_seen_to_go_an_unknown_secret_fails_nothing() -> None:
    known = [score("familiarity_completion", "forget", which, v) for which, v in zip(BOTH, (0.9, 0.0), strict=True)]
    scores = [*known, *(score("secret_exposure", "forget", which, 1.1) for which in BOTH), *KEPT]
    found = {check["name"]: check for check in judge(scores, Verdict())["checks"]}
    assert found["secret_exposure"]["passed"] is None
    assert found["familiarity_completion"]["passed"] is True


def test_a_secret_that_is_avoided_is_told() -> None:
    assert "visibly avoids the secret" in checks(9.0, 0.001)["secret_exposure"]["explain"]
    assert "avoided" not in checks(9.0, 1.0)["secret_exposure"]["explain"]


def test_where_nothing_was_measured_reason_and_way_out_are_told() -> None:
    (check,) = (check for check in judge(KEPT, Verdict())["checks"] if not check["passed"])
    assert check["name"] == "familiarity_completion"
    for part in (
        "no names or words of its own",
        "nothing that looks like a secret",
        "--prompts",
        "--evaluation.secret",
    ):
        assert part in check["explain"]
