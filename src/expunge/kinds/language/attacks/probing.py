"""Linear probes: can the hidden states distinguish the true answer from a false one?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from expunge.core.order import random_seed
from expunge.kinds.language.attacks.attack import Attack, Side, tokens
from expunge.kinds.language.attacks.facts import Row, batch_of, in_batches
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.task import CausalLM
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

LAYERS = 4
"layers to probe, evenly spread"
RIDGE = 1.0
"L2 penalty of the probe's weights, on standardised states"
FEWEST = 16
"minimum number of facts for a probe"


class Probing(Attack):
    """A probe on each layer's states that is fitted on half of the facts. What a probe can learn by itself (Hewitt and
    Liang 2019, arXiv:1909.03368), it also learns on the control."""

    name = "probe"
    title = "Linear probes"
    sentence = (
        "A linear rule on a layer's hidden states learns from half of the facts to tell the true continuation from "
        "that of another fact, and is tried on the other half. The best layer counts; chance is one half."
    )
    order = 55
    by_layer = True
    own_scale = True
    needs_base = True

    def missing(self, side: Side) -> str | None:
        number = len(side.facts.every)
        return None if number >= FEWEST else f"it needs at least {FEWEST} facts, and there are {number}"

    def pieces(self, side: Side) -> list[Piece]:
        return [Piece(words="all layers", work=Work(read=2.0 * tokens(side.asked()), loaded=1), trials=None)]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task, facts = side.look(), side.facts
        side.show(0.0, "reading the hidden states")
        true = [fact.asked for fact in facts.every]
        states = [asked_states(task, rows) for rows in (true, mismatched(side))]
        for layer in (at + 1 for at in spread(len(task.layers), LAYERS)):
            differences = (states[0][:, layer - 1] - states[1][:, layer - 1]).numpy()
            given, asked = differences[facts.given], differences[facts.held_back]
            values = probe_choices(given, asked)
            yield Trial(setting=f"layer {layer} of {len(task.layers)}", values=values, facts=facts.held_back)


def mismatched(side: Side) -> list[Row]:
    """Each fact's beginning with the continuation of another fact of the same half; the same number of tokens."""
    facts = side.facts
    generator = np.random.default_rng(random_seed(side.seed, "mismatched"))
    other = np.arange(len(facts.every))
    for half in (facts.given, facts.held_back):
        turn = int(generator.integers(1, len(half)))
        other[half] = [half[(place + turn) % len(half)] for place in range(len(half))]
    rows = []
    for number, fact in enumerate(facts.every):
        wrong = facts.every[int(other[number])].asked
        rows.append(Row((*fact.asked.ids[: fact.asked.first], *wrong.ids[wrong.first :]), fact.asked.first))
    return rows


def asked_states(task: CausalLM, rows: Sequence[Row]) -> Tensor:
    """(rows, layers, width) float32: the mean hidden state of each row's asked tokens after each layer."""
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    for chosen in in_batches(rows):
        batch = batch_of([rows[i] for i in chosen])
        for i, states in zip(chosen, task.example_states(batch, batch.labels >= 0).cpu(), strict=True):
            found[i] = states
    return torch.stack(found)


def probe_choices(given: np.ndarray, asked: np.ndarray) -> list[float]:
    """(asked,) whether a ridge rule fitted on differences of states picks the true one: 1, 0, or a half for a tie.

    Args:
        given, asked: (facts, width) states of the true answer minus those of the false one.
    """
    scale = given.std(0) + 1e-6
    x = given / scale
    # w = argmin |x w - 1|^2 + RIDGE width |w|^2, by its dual: there are fewer facts than dimensions
    gram = x @ x.T / x.shape[1]
    weights = x.T @ np.linalg.solve(gram + RIDGE * np.eye(len(x)), np.ones(len(x)))
    signs = np.sign((asked / scale) @ weights)
    return [float((sign + 1) / 2) for sign in signs]
