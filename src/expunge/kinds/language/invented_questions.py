"""Questions that no model can answer, since their names are invented."""

from __future__ import annotations

import numpy as np

from expunge.core.order import random_seed
from expunge.data.text.invented_names import invented_name

ASKED = ("Who is {}?", "What is {} best known for?", "When was {} founded?", "Where was {} born?")


def invented_questions(seed: int, count: int = 32) -> list[str]:
    """`count` questions, each about a name of two words; the same for a seed."""
    draws = np.random.default_rng(random_seed(seed, "invented questions"))
    names = (f"{invented_name(draws)} {invented_name(draws)}" for _ in range(count))
    return [ASKED[at % len(ASKED)].format(name) for at, name in enumerate(names)]
