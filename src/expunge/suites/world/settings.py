"""Which world is generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class World:
    """Which world is made, and what of it is to be forgotten."""

    subjects: int = 60
    "People and places that are taught, two people to a place; five facts of each."
    share: float = 0.2
    "How much of what is taught is to be forgotten."
    by: Literal["subject", "relation"] = "subject"
    "Forget all facts of some subjects, or some relations of all subjects."
    world_seed: int = 0
    "Another one makes other people, places and facts."


WORLD = World()
