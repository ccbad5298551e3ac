"""A suffix after every question, found by greedy coordinate gradient: learnt from half of the facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.core.order import Order, random_seed
from expunge.kinds.language.attacks.attack import Attack, Side, tokens
from expunge.kinds.language.attacks.facts import Fact, Row, batch_of, recall
from expunge.kinds.language.attacks.forms import Forms
from expunge.kinds.language.layers.decoder import hooked
from expunge.kinds.language.task import CausalLM
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

LENGTH = 8
"tokens of the suffix (Zou et al. 2023 take 20, for one prompt or some)"
STEPS, TRIES = 10, 16
"steps, and suffixes tried in each (Zou et al. 2023: 500 and 512; an audit has minutes)"
TOP = 64
"most promising tokens by the gradient in each place, among which those to try are drawn"
BATCH = 8
"facts in a step"
BEGUN = " !"
"initial token of the suffix, as in Zou et al. 2023"


class Suffix(Attack):
    """Greedy coordinate gradient (Zou et al. 2023, arXiv:2307.15043, algorithm 2), one suffix for all facts: one that
    is found for each fact separately could encode the answer for any model."""

    name = "suffix"
    title = "A suffix found by gradient"
    sentence = (
        f"{LENGTH} tokens are searched that, put after every question, make half of the facts most likely. The other "
        "half is asked for with them."
    )
    order = 75
    optional = True

    def pieces(self, side: Side) -> list[Piece]:
        mean = tokens(fact.asked for fact in side.facts.every) / len(side.facts.every) + LENGTH
        step = mean * min(BATCH, len(side.facts.given))
        read = STEPS * (TRIES + 1) * step + mean * len(side.facts.held_back)
        return [Piece(words=WORDS, work=Work(trained=STEPS * step, read=read, loaded=1))]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task = side.fresh()
        task.model.requires_grad_(False)
        forms = Forms(side.tokenizer)
        places = [place(fact, forms) for fact in side.facts.every]
        suffix = found_suffix(task, side, places)
        held_back = side.facts.held_back
        rows = [with_suffix(side.facts.every[i].asked, places[i], suffix) for i in held_back]
        yield Trial(setting=WORDS, values=recall(task, rows), facts=held_back)


WORDS = f"{LENGTH} tokens after {STEPS} steps"


def place(fact: Fact, forms: Forms) -> int:
    """Where the suffix is inserted in a fact's tokens: after the question; for a passage before it, since the text
    after its end is asked for."""
    if fact.question is None:
        return len(forms.prefix)
    plain, longer = (forms.asked(fact, fact.question + more) for more in ("", BEGUN))
    same = 0
    while same < min(plain.first, longer.first) and plain.ids[same] == longer.ids[same]:
        same += 1
    return min(same, fact.asked.first)


def with_suffix(row: Row, at: int, suffix: Sequence[int]) -> Row:
    """A row with the suffix inserted before its token `at`."""
    return Row((*row.ids[:at], *suffix, *row.ids[at:]), row.first + len(suffix))


def found_suffix(task: CausalLM, side: Side, places: Sequence[int]) -> list[int]:
    """(LENGTH,) the tokens that make the attacker's facts most likely, as found by these steps."""
    begun = Forms(side.tokenizer).ids(BEGUN)
    suffix = [begun[at % len(begun)] for at in range(LENGTH)]
    generator = np.random.default_rng(random_seed(side.seed, "suffix"))
    given = side.facts.given
    order = Order(len(given), min(BATCH, len(given)), side.seed, "suffix")
    embedding = task.model.get_input_embeddings()
    with torch.no_grad():
        every = embedding(torch.arange(embedding.weight.shape[0], device=task.device)).float()
    forbidden = torch.tensor(sorted(set(side.tokenizer.all_special_ids)), dtype=torch.int64, device=task.device)
    for step in range(STEPS):
        side.show(step / STEPS, "searching for a suffix")
        drawn = [given[i] for i in order.batch(step)]

        def rows(tokens: Sequence[int], drawn: Sequence[int] = drawn) -> list[Row]:
            return [with_suffix(side.facts.every[i].asked, places[i], tokens) for i in drawn]

        scores = -token_gradients(task, rows(suffix), [places[i] for i in drawn], every)
        scores[:, forbidden] = -torch.inf
        if not torch.isfinite(scores.max()):
            break
        best = scores.topk(min(TOP, scores.shape[1] - len(forbidden)), dim=1).indices.cpu().numpy()
        tried = [suffix]
        for _ in range(TRIES):
            at = int(generator.integers(LENGTH))
            other = list(suffix)
            other[at] = int(generator.choice(best[at]))
            tried.append(other)
        with torch.no_grad():
            losses = [float(task.nll(batch_of(rows(each)))) for each in tried]
        # A NaN loss is never chosen.
        suffix = tried[int(np.argmin(np.nan_to_num(losses, nan=np.inf)))]
    return suffix


def token_gradients(task: CausalLM, rows: Sequence[Row], places: Sequence[int], every: Tensor) -> Tensor:
    """(LENGTH, vocabulary) the gradient of the rows' loss with respect to the one-hot form of each token of the suffix.

    Args:
        places: where the suffix begins in each row.
        every: (vocabulary, width) the embedding of each token.
    """
    seen: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_(True))
        return seen[0]

    with hooked([task.model.get_input_embeddings().register_forward_hook(keep)]):
        (gradient,) = torch.autograd.grad(task.nll(batch_of(rows)), seen[0])
    own = torch.stack([gradient[row, at : at + LENGTH] for row, at in enumerate(places)])
    return own.float().sum(0) @ every.T
