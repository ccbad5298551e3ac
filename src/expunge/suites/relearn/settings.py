"""Settings of the suite: data, attack and ranking."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attack:
    """How models are attacked, and methods are ranked."""

    attacks: str = "relearn"
    "Names separated by commas: relearn, relearn_rates, relearn_benign."
    kl: float = 0.01
    "Damage at which methods are ranked: KL divergence from the taught model on ordinary text, nats a token, at most."
    equal_damage: bool = False
    "Move each model along its own change until its KL divergence is --kl, so that methods are compared at that damage."
    ordinary: str | None = None
    "Ordinary text; default: text that the model wrote before it was taught."


@dataclass(frozen=True, slots=True)
class Read:
    """What is taught and forgotten."""

    data: str | None = None
    "A folder with `forget` and `retain` (question and answer), or of TOFU with --forget; default: a generated world."
    forget: str | None = None
    "TOFU's rows to forget: forget01, forget05 or forget10."
    authors: int | None = None
    "For TOFU: use this many authors in all."


ATTACK, READ = Attack(), Read()
