"""The verdict on generators: what was not measured fails, and so does what is kept no better than forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from plain_score import plain_score as score

from expunge.evidence.generator_verdict import judge_generator
from expunge.generator_recipe import GeneratorVerdict
from expunge.measures.score import Score

CHANCES = {"forget": 0.025, "forget_test": 0.025}


def scores(**changed: tuple[float, float]) -> list[Score]:
    """Of a run that forgot well, with (before, after) of some measures changed."""
    told = {
        "frechet-retain_test": (30.0, 31.0), "psnr-retain_test": (24.0, 23.8), "frechet-forget": (40.0, 130.0),
        "frechet-forget_test": (60.0, 200.0), "identity_recognition-forget": (0.7, 0.02),
    }  # fmt: skip
    found = []
    for name, (before, after) in (told | changed).items():
        measure, split = name.split("-")
        found += [score(measure, split, "base", before, 100), score(measure, split, "unlearned", after, 100)]
    return found


def checks(found: list[Score], **thresholds: Any) -> dict[str, dict[str, Any]]:
    verdict = judge_generator(found, GeneratorVerdict(**thresholds), 0.09, CHANCES)
    made = {check["name"]: check for check in verdict["checks"]}
    assert verdict["passed"] == all(check["passed"] for check in made.values())
    return made


def test_a_run_that_forgot_and_kept_passes() -> None:
    assert all(check["passed"] for check in checks(scores()).values())


@pytest.mark.parametrize(
    ("name", "changed", "fails"),
    [
        ("retain_frechet", {"frechet-retain_test": (30.0, 32.0)}, True),
        ("retain_frechet", {"frechet-retain_test": (30.0, 31.4)}, False),
        ("retain_psnr", {"psnr-retain_test": (24.0, 23.69)}, True),
        ("forget_frechet", {"frechet-forget": (40.0, 119.0)}, True),
        ("forget_frechet", {"frechet-forget_test": (60.0, 179.0)}, True),
        ("forget_recognition", {"identity_recognition-forget": (0.7, 0.08)}, True),
        ("forget_recognition", {"identity_recognition-forget_test": (0.7, 0.08)}, True),
    ],
)
def test_each_check_fails_alone(name: str, changed: dict[str, tuple[float, float]], fails: bool) -> None:
    made = checks(scores(**changed))
    assert {each for each, check in made.items() if not check["passed"]} == ({name} if fails else set())


def test_what_was_not_measured_fails() -> None:
    made = checks([])
    assert {name for name, check in made.items() if not check["passed"]} == {
        "retain_frechet", "retain_psnr", "forget_frechet", "forget_recognition"
    }  # fmt: skip


@pytest.mark.parametrize(("hits", "passes"), [(0, True), (1, True), (2, False)])
def test_one_success_in_few_pictures_may_be_chance(hits: int, passes: bool) -> None:
    """In five pictures one success has a probability of 12 % at a chance of 2.5 %, two of 0.6 %."""
    found = [*scores(), score("identity_recognition", "forget_test", "unlearned", hits / 5, n=5)]
    assert checks(found)["forget_recognition"]["passed"] == passes
