"""How the suite attacks, and by what it ranks."""

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


ATTACK = Attack()
