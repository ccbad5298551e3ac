"""What the suite reads, how it attacks, and by what it ranks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attack:
    """How models are attacked, and by what methods are ranked."""

    attacks: str = "relearn"
    "Names with commas between them: relearn, relearn_rates, relearn_benign."
    kl: float = 0.01
    "Damage at which methods are ranked: KL divergence from the taught model on ordinary text, nats a token, at most."
    ordinary: str | None = None
    "Ordinary text; if not given, text that the model wrote before it was taught."


@dataclass(frozen=True, slots=True)
class Read:
    """What is taught and forgotten."""

    data: str | None = None
    "A folder with `forget` and `retain` (question and answer), or of TOFU with --forget; if not given, a generated world."
    forget: str | None = None
    "TOFU's rows that are to be forgotten: forget01, forget05 or forget10."
    authors: int | None = None
    "Of TOFU, use this many authors in all."


ATTACK, READ = Attack(), Read()
