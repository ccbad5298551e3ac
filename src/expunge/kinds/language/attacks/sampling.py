"""Many attempts: does any of k sampled answers contain it?"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

from expunge.core.order import random_seed
from expunge.data.text.words import units
from expunge.kinds.language.attacks.attack import Attack, Side
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.measures.recall import rouge_l
from expunge.kinds.language.texts import Sampling
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

FACTS = 48
"facts to sample for, at most: generation is slow"
NEW = 32
"tokens of an answer, at most"
SAID = 0.5
"ROUGE-L F1 from which an answer counts as said"


class Samples(Attack):
    """Leak at k (2025, arXiv:2511.04934): the probability that one of k sampled answers contains it."""

    name = "sample"
    title = "Many attempts"
    sentence = (
        f"Answers are sampled several times a fact. One that has at least {SAID:.0%} of the true answer's words in "
        "order (ROUGE-L F1) counts as said; what is shown is the probability that one of k answers does."
    )
    order = 70
    own_scale = True
    needs_base = True

    def pieces(self, side: Side) -> list[Piece]:
        written = NEW * side.settings.samples * min(FACTS, len(side.facts.every))
        return [
            Piece(words=f"{side.settings.samples} answers a fact", work=Work(written=written, loaded=1), trials=None)
        ]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task, total = side.look(), side.settings.samples
        numbers = spread(len(side.facts.every), FACTS)
        facts = [side.facts.every[i] for i in numbers]
        prompts = [list(fact.asked.ids[: fact.asked.first]) for fact in facts]
        wanted = [units(fact.answer) for fact in facts]
        sampling = Sampling(samples=total, seed=random_seed(side.seed, "audit samples") % (1 << 31))
        right = []
        written = task.generate(prompts, NEW, sampling, on_progress=lambda share: side.show(share, "sampling answers"))
        for said, true in zip(written, wanted, strict=True):
            right.append(sum(rouge_l(units(each)[: 2 * len(true)], true) >= SAID for each in said))
        for k in sorted({1, total}):
            values = [leak_at(k, total, count) for count in right]
            yield Trial(setting=f"{k} attempts" if k > 1 else "1 attempt", values=values, facts=numbers)


def leak_at(k: int, n: int, right: int) -> float:
    """Probability that one of k answers is right, estimated without bias from `right` of n: 1 - C(n - right, k) / C(n,
    k) (Chen et al. 2021, arXiv:2107.03374, equation 1)."""
    return 1.0 - comb(n - right, k) / comb(n, k)
