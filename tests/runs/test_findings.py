"""What an audit concludes: planted cases come out right, and what was not measured is never a pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from expunge.errors import RecipeError
from expunge.kinds.language.damage import damage_findings
from expunge.runs.audit import AS_IS, Attacked, Audit, Trial, seconds_of
from expunge.runs.findings import Finding, findings, passed

FACTS = 60


def values(mean: float, seed: int) -> list[float]:
    return list(np.clip(np.random.default_rng(seed).normal(mean, 0.08, FACTS), 0, 1))


def trial(mean: float, seed: int, setting: str = AS_IS, **more: Any) -> Trial:
    return Trial(setting=setting, values=values(mean, seed), facts=list(range(FACTS)), **more)


def known(now: float, seed: int, control: float = 0.2) -> dict[str, Trial]:
    """Base 0.8, control 0.2; the model audited knows `now` without an attack."""
    return {
        "unlearned": trial(now, seed),
        "base": trial(0.8, seed + 1),
        "control": trial(control, seed + 2),
        "control_base": trial(control, seed + 2),
    }


def attacked(
    under: Sequence[float], seed: int, control: Sequence[float] | None = None, name: str = "attack"
) -> Attacked:
    """An attack of several settings; means under each, and the control's."""
    means = control or [0.2] * len(under)
    return Attacked(
        name=name,
        title=name,
        sentence="",
        unlearned=[trial(mean, seed + 10 + at, f"setting {at}") for at, mean in enumerate(under)],
        control=[trial(mean, seed + 30 + at, f"setting {at}") for at, mean in enumerate(means)],
    )


def harm(kept: float = 1.0, ratio: float = 1.0) -> list[Finding]:
    found = {
        "retain": {"before": 0.5, "after": 0.5 * kept, "kept": [kept, kept - 0.02, kept + 0.02], "n": 40},
        "perplexity": {"ratio": [ratio, ratio - 0.01, ratio + 0.01], "n": 40},
        "kl": [0.01, 0.0, 0.02],
    }
    assert [each.title for each in damage_findings(Audit(), found, of_retain=True)][1] == "Perplexity on the retain set"
    return damage_findings(Audit(), found)


def states(found: Any) -> dict[str, bool | None]:
    return {each.name: each.passed for each in found}


@pytest.mark.parametrize("seed", range(0, 2000, 100))
def test_planted_cases(seed: int) -> None:
    """Each of twenty seeds: a retrained model passes; one that is not gone, that comes back, or that is destroyed fails."""
    settings = Audit()

    def audit(
        now: float, under: Sequence[float], damaged: list[Finding], control: Sequence[float] | None = None
    ) -> Any:
        return findings(settings, known(now, seed), [attacked(under, seed, control)], damaged, paired=True)

    assert passed(audit(0.2, [0.2, 0.21], harm()))
    assert states(audit(0.8, [0.8, 0.8], harm()))[AS_IS] is False  # untouched
    comes_back = audit(0.2, [0.25, 0.6], harm())
    assert states(comes_back)[AS_IS] is True
    assert states(comes_back)["attack"] is False
    # What the attack teaches the control, too, is not evidence against the model.
    assert passed(audit(0.2, [0.5, 0.6], harm(), control=[0.5, 0.6]))
    destroyed = states(audit(0.0, [0.05, 0.05], harm(kept=0.1, ratio=30)))
    assert destroyed["retain_kept"] is False
    assert destroyed["perplexity"] is False
    # A model that knows much less than one that never saw it.
    overshot = findings(settings, known(0.0, seed, control=0.4), [], harm(), paired=True)
    assert states(overshot)["overshoot"] is False
    assert not passed(overshot)


def test_false_alarms_on_innocent_models_are_few() -> None:
    settings, failed = Audit(), 0
    for seed in range(200):
        attacks = [attacked([0.2, 0.2], 1000 * seed + 50 * number, name=f"a{number}") for number in range(8)]
        found = findings(settings, known(0.2, 1000 * seed + 900), attacks, harm(), paired=True)
        failed += any(each.passed is False for each in found)
    assert failed / 200 <= 0.05


def test_the_control_is_held_against_the_model_setting_by_setting() -> None:
    """What comes back sooner than in the control is known, though the control gets as far in the end."""
    found = findings(Audit(), known(0.2, 0), [attacked([0.5, 0.5], 0, [0.2, 0.5])], harm(), paired=True)
    (one,) = (each for each in found if each.name == "attack")
    assert one.passed is False
    assert one.setting == "setting 0"
    assert one.value == pytest.approx(0.5, abs=0.06)
    both = findings(Audit(), known(0.2, 0), [attacked([0.5, 0.5], 0, [0.5, 0.5])], harm(), paired=True)
    assert states(both)["attack"] is True


def spread(mean: float, deviation: float, seed: int, setting: str = AS_IS) -> Trial:
    """A trial whose values lie as far apart as is said."""
    drawn = np.random.default_rng(seed).normal(mean, deviation, FACTS)
    return Trial(setting=setting, values=list(drawn - drawn.mean() + mean), facts=list(range(FACTS)))


def test_a_setting_that_is_too_coarse_is_not_hidden_by_a_fine_one() -> None:
    one = Attacked(
        name="attack",
        title="attack",
        sentence="",
        unlearned=[spread(0.21, 0.01, 1, "fine"), spread(0.2, 0.6, 2, "coarse")],
        control=[spread(0.2, 0.01, 3, "fine"), spread(0.2, 0.01, 4, "coarse")],
    )
    (found,) = (each for each in findings(Audit(), known(0.2, 0), [one], harm(), paired=True) if each.name == "attack")
    assert found.passed is None
    assert found.setting == "coarse"


def test_far_below_the_control_no_interval_is_too_wide() -> None:
    one = Attacked(
        name="attack",
        title="attack",
        sentence="",
        unlearned=[spread(-0.4, 0.5, 1, "s")],
        control=[spread(0.2, 0.01, 3, "s")],
    )
    (found,) = (each for each in findings(Audit(), known(0.2, 0), [one], harm(), paired=True) if each.name == "attack")
    assert found.high is not None
    assert found.high < 0
    assert found.passed is True


def test_a_value_that_may_be_within_the_limit_does_not_fail() -> None:
    """0.11 measured to 0.02: more than nothing, and not surely more than the limit of 0.1."""
    states_ = []
    for mean in (0.266, 0.35):  # excess 0.11 and 0.25 of 0.6
        one = Attacked(
            name="attack",
            title="attack",
            sentence="",
            unlearned=[spread(mean, 0.05, 1, "s")],
            control=[spread(0.2, 0.01, 3, "s")],
        )
        known_ = known(0.2, 0) | {"base": spread(0.8, 0.02, 8), "control_base": spread(0.2, 0.02, 9)}
        states_.append(states(findings(Audit(), known_, [one], harm(), paired=True))["attack"])
    assert states_ == [None, False]


def test_every_setting_that_is_tried_costs_evidence() -> None:
    of = [attacked([0.3] + [0.2] * more, 0) for more in (0, 30)]
    few, many = (
        next(each.p for each in findings(Audit(), known(0.2, 0), [one], harm(), paired=True) if each.name == "attack")
        for one in of
    )
    assert few is not None
    assert many == pytest.approx(min(1.0, few * 31), rel=1e-6)


@pytest.mark.parametrize(
    ("value", "half", "state"),
    [(0.95, 0.3, True), (0.85, 0.02, False), (0.85, 0.1, None)],
)
def test_damage_that_chance_may_have_done_is_not_told(value: float, half: float, state: bool | None) -> None:
    retain, perplexity = harm()
    found = replace(retain, value=value, low=value - half, high=value + half)
    assert states(findings(Audit(), known(0.2, 0), [], [found], paired=True))["retain_kept"] is state
    found = replace(perplexity, value=2 - value, low=2 - value - half, high=2 - value + half)
    assert states(findings(Audit(), known(0.2, 0), [], [found], paired=True))["perplexity"] is state


def test_an_audit_that_was_read_back_finds_the_same() -> None:
    apart = [
        Attacked(
            name="membership",
            title="Membership",
            sentence="",
            unlearned=[trial(0.6, 1, "loss", others=values(0.6, 3))],
            control=[trial(0.5, 2, "loss", others=values(0.5, 4))],
        ),
        replace(attacked([0.4, 0.5], 0, name="own"), base=[trial(0.9, 5)] * 2, control_base=[trial(0.3, 6)] * 2),
    ]
    apart[1].control = [replace(each, facts=[*range(1, FACTS), 0]) for each in apart[1].control]
    once = findings(Audit(), known(0.2, 0), apart, harm(), paired=True)
    back = [Attacked.of(json.loads(json.dumps(each.row()))) for each in apart]
    assert list(back[1].control[0].facts) == [*range(1, FACTS), 0]
    assert findings(Audit(), known(0.2, 0), back, harm(), paired=True) == once


def test_without_a_control_nothing_is_told() -> None:
    alone = {which: one for which, one in known(0.2, 0).items() if which in ("unlearned", "base")}
    found = findings(Audit(), alone, [replace(attacked([0.2], 0), control=[])], harm(), paired=True)
    assert states(found)[AS_IS] is None
    assert states(found)["attack"] is None
    assert not passed(found)
    assert "no control" in found[0].explain


def test_what_the_base_never_knew_cannot_be_seen_to_go() -> None:
    ignorant = known(0.2, 0) | {"base": trial(0.2, 5)}
    found = findings(Audit(), ignorant, [attacked([0.2], 0)], harm(), paired=True)
    assert states(found)["attack"] is None
    assert not passed(found)


def test_too_few_facts_cannot_pass() -> None:
    few = {
        which: replace(one, values=[one.values[0], 0.9, 0.05], facts=[0, 1, 2]) for which, one in known(0.2, 0).items()
    }
    few["base"] = replace(few["base"], values=[0.95, 0.99, 0.97])
    found = findings(Audit(), few, [], harm(), paired=True)
    assert states(found)[AS_IS] is None
    assert not passed(found)


def test_no_finding_is_no_pass() -> None:
    assert not passed([])


@pytest.mark.parametrize(("area", "state"), [(0.5, True), (0.75, False), (0.25, False)])
@pytest.mark.parametrize("paired", [True, False])
def test_membership_counts_in_both_directions(area: float, state: bool, paired: bool) -> None:
    one = Attacked(
        name="membership",
        title="Membership",
        sentence="",
        unlearned=[trial(area, 1, "loss", others=values(area, 3))],
        control=[trial(0.5, 2, "loss", others=values(0.5, 4))],
    )
    found = findings(Audit(), known(0.2, 0), [one], harm(), paired=paired)
    assert states(found)["membership"] is state
    finding = next(each for each in found if each.name == "membership")
    if area != 0.5:
        assert finding.kind == ("over-forgetting" if area < 0.5 else "under-forgetting")
    assert finding.low is not None
    assert finding.high is not None
    assert finding.low <= (finding.value or 0) <= finding.high


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("90s", 90), ("2h", 7200), (45, 45), ("1.5m", 90)])
def test_times(text: str | float, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["soon", "0m", "-3s", "10 days", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="is not a time"):
        seconds_of(text)


def coarse(mean: float, seed: int, deviation: float = 0.3) -> list[float]:
    """Values of few facts that lie far apart, as answers to a choice do."""
    drawn = np.random.default_rng(seed).normal(mean, deviation, 16)
    return list(drawn - drawn.mean() + mean)


def few_facts(own: float, deviation: float = 0.3) -> tuple[Any, Attacked]:
    """(what is known of 16 facts, an attack that they are too few for): on its scale the base gets 0.6, the control 0.1."""

    def of(values: list[float]) -> list[Trial]:
        return [Trial(setting="one of 4 answers", values=values, facts=list(range(16)))]

    one = Attacked(
        name="choice",
        title="Multiple choice",
        sentence="",
        unlearned=of(coarse(own, 1)),
        control=of(coarse(0.1, 2, deviation)),
        base=of(coarse(0.6, 3)),
        control_base=of(coarse(0.1, 2, deviation)),
    )
    every = {which: replace(each, values=each.values[:16], facts=range(16)) for which, each in known(0.2, 0).items()}
    fine = replace(attacked([0.2], 0, name="fine"), unlearned=[every["control"]], control=[every["control"]])
    return every, [one, fine]  # type: ignore[return-value]


def test_an_attack_with_too_few_facts_is_not_tested_and_says_how_many_it_needs() -> None:
    """By hand: 0.3 · sqrt(2 / 16) / 0.5, times Student's 2.131 of 15 degrees, a little longer: about five times the limit."""
    every, attacks = few_facts(0.1)
    found = findings(Audit(), every, attacks, harm(), paired=True)
    (choice,) = (each for each in found if each.name == "choice")
    deviation = np.std(coarse(0.1, 2), ddof=1)
    least = 2.131450 * (1 + 1.281552 / np.sqrt(30)) * deviation * np.sqrt(2 / 16) / 0.5
    assert choice.passed is None
    assert choice.needs == np.ceil(16 * (least / 0.1) ** 2)
    assert f"it needs about {choice.needs}" in choice.explain
    assert all(each.needs is None for each in found if each.name != "choice")
    assert states(found) == {**dict.fromkeys(states(found), True), "choice": None}
    assert not passed(found), "by default what was not tested does not pass"
    assert passed(found, untested_passes=True)
    assert not passed([each for each in found if each.name != "fine"], untested_passes=True), "no attack was tested"


def test_what_is_over_its_limit_or_not_fine_for_other_reasons_stays_not_told() -> None:
    for own, control in ((0.25, 0.3), (0.1, 0.01)):  # over the limit; a control that lies close, so that facts suffice
        every, attacks = few_facts(own, control)
        found = findings(Audit(), every, attacks, harm(), paired=True)
        (choice,) = (each for each in found if each.name == "choice")
        assert (choice.passed, choice.needs) == (None, None), own
        assert not passed(found, untested_passes=True)


def test_with_too_few_facts_for_its_limit_an_attack_still_fails() -> None:
    every, attacks = few_facts(1.2)
    assert states(findings(Audit(), every, attacks, harm(), paired=True))["choice"] is False
