"""The verdict on generators: what was not measured fails, and so does a retain set no better than the forget set."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.core.score import Score
from expunge.kinds.generator.recipe import GeneratorVerdict
from plain_score import plain_score as score
from verdicts import judge_generator

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


GROUP = CHANCES | {"group": 0.15}


def group_checks(
    taken: float, identified: float, by_retrained: float | None = 0.7, before: float = 0.6, retrained: float = 0.2
) -> dict[str, dict[str, Any]]:
    """Of 100 forgotten pictures without names, whose group was recognised so often and which were so often identified."""
    found = [
        *scores(),
        score("group_recognition", "forget", "base", before, 100),
        score("group_recognition", "forget", "unlearned", taken, 100),
        score("group_recognition", "forget", "retrained", retrained, 100),
        score("identity_recognition", "forget", "unlearned", identified, 100),
    ]
    if by_retrained is not None:
        found.append(score("identity_recognition", "forget", "retrained", by_retrained, 100))
    return {check["name"]: check for check in judge_generator(found, GeneratorVerdict(), 0.09, GROUP)["checks"]}


@pytest.mark.parametrize(("taken", "passes"), [(0.0, True), (0.15, True), (0.22, True), (0.23, False), (0.6, False)])
def test_a_group_without_names_is_held_against_its_share(taken: float, passes: bool) -> None:
    """Of 100 pictures 22 or more of a kind that makes up 15 % have a probability of 3.9 %, 23 or more of 2.1 %."""
    made = group_checks(taken, 0.3)["forget_recognition"]
    assert (made["threshold"], made["passed"]) == (0.15, passes)


@pytest.mark.parametrize(("taken", "passes"), [(0.08, True), (0.10, True), (0.11, False)])
def test_a_retrained_model_that_shows_less_of_a_group_is_the_limit(taken: float, passes: bool) -> None:
    """Of 100 pictures 10 reach down to 4.9 %, 11 to 5.6 %."""
    made = group_checks(taken, 0.3, retrained=0.05)["forget_recognition"]
    assert (made["threshold"], made["passed"]) == (0.05, passes)
    assert "retrained model has 5.0%" in made["explain"]


@pytest.mark.parametrize(("before", "passes"), [(0.2, False), (0.3, True)])
def test_a_group_that_the_base_does_not_show_cannot_go(before: float, passes: bool) -> None:
    """As where the network knows nothing of it: that it is not recognised after says nothing."""
    made = group_checks(0.0, 0.0, before=before)["forget_recognition"]
    assert made["passed"] == passes
    assert ("cannot be shown" in made["explain"]) != passes


@pytest.mark.parametrize("split", ["forget", "forget_test"])
def test_the_worse_split_of_a_group_counts(split: str) -> None:
    other = {"forget": "forget_test", "forget_test": "forget"}[split]
    found = scores()
    for which, share in ((split, 0.4), (other, 0.1)):
        found += [
            score("group_recognition", which, "base", 0.6, 100),
            score("group_recognition", which, "unlearned", share, 100),
            score("identity_recognition", which, "unlearned", share, 100),
            score("identity_recognition", which, "retrained", 0.3, 100),
        ]
    made = {check["name"]: check for check in judge_generator(found, GeneratorVerdict(), 0.09, GROUP)["checks"]}
    for name in ("forget_recognition", "forget_identification"):
        assert not made[name]["passed"]
        assert ("held back" in made[name]["explain"]) == (split == "forget_test")


@pytest.mark.parametrize(("identified", "passes"), [(0.3, True), (0.7, True), (0.71, False)])
def test_its_single_pictures_are_held_against_the_retrained_model(identified: float, passes: bool) -> None:
    made = group_checks(0.1, identified)
    assert {name for name, check in made.items() if not check["passed"]} == (
        set() if passes else {"forget_identification"}
    )


def test_without_a_retrained_model_single_pictures_are_not_judged() -> None:
    assert "forget_identification" not in group_checks(0.1, 0.9, by_retrained=None)


def test_a_group_that_was_not_measured_fails() -> None:
    made = {check["name"]: check for check in judge_generator(scores(), GeneratorVerdict(), 0.09, GROUP)["checks"]}
    assert not made["forget_recognition"]["passed"]
