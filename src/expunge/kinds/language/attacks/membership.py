"""Membership: can facts that were trained on be distinguished from similar ones that no model saw?"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from expunge.kinds.language.attacks.attack import Attack, Side, tokens
from expunge.kinds.language.attacks.facts import Row, batch_of, in_batches
from expunge.kinds.language.layers.decoder import hooked
from expunge.kinds.language.limits import positions
from expunge.kinds.language.task import CausalLM
from expunge.measures.privacy.roc import placements
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

LOWEST = 0.2
"share of a text's tokens that min-k uses (Shi et al. 2024, arXiv:2310.16789)"


SHOTS = 5
"unseen texts before a text for ReCaLL (Xie et al. 2024, arXiv:2406.15968, take 1 to 12)"


class Membership(Attack):
    """Loss, zlib, min-k, min-k++, ReCaLL, the gradient's norm, and the loss compared with the base model's (Yeom et al.
    2018, arXiv:1709.01604; Carlini et al. 2021, arXiv:2012.07805; Shi et al. 2024, arXiv:2310.16789; Zhang et al. 2024,
    arXiv:2404.02936; Xie et al. 2024, arXiv:2406.15968; Wang et al. 2024, arXiv:2402.17012)."""

    name = "membership"
    title = "Membership"
    sentence = (
        "Scores of each text that are meant to tell texts that were trained on from others: the area under the ROC "
        "curve against similar texts that no model saw. 0.5 is chance; far below it, the model gives away what it "
        "forgot."
    )
    order = 35
    version = 2

    def missing(self, side: Side) -> str | None:
        return None if side.holdout is not None else "it needs similar texts that no model saw: give --holdout PATH"

    def pieces(self, side: Side) -> list[Piece]:
        holdout = () if side.holdout is None else side.holdout.every
        number, shots = len(side.facts.every) + len(holdout), tokens(f.taught for f in holdout[:SHOTS])
        once, models = tokens(side.asked()) + tokens(f.asked for f in holdout), 2 if side.retrained else 1
        # Every model's own scores, ReCaLL's two, and a gradient.
        work = Work(read=(models + 2) * once + number * shots, trained=once, loaded=models + 1)
        return [Piece(words="all scores", work=work, trials=None)]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        """Values are each fact's contribution to the area: the share of unseen texts that score below it."""
        assert side.holdout is not None
        # The base learnt the facts by heart: compared with it, facts separate whatever the model forgot.
        task, base = side.look(), side.base() if side.retrained else None
        seen, texts = [f.taught for f in side.facts.every], [f.taught for f in side.holdout.every]
        words = [[f"{f.before}{f.answer}" for f in facts.every] for facts in (side.facts, side.holdout)]
        found = [scores(task, base, rows, text) for rows, text in zip((seen, texts), words, strict=True)]
        shots = fitting(texts, max(len(row.ids) for row in (*seen, *texts)), positions(task.model.config))
        found[0]["ReCaLL"] = prefixed(task, seen, [shots[:SHOTS]] * len(seen))
        found[1]["ReCaLL"] = prefixed(
            task, texts, [[each for each in shots if each is not row][:SHOTS] for row in texts]
        )
        del task, base  # memory holds only one
        task = side.fresh()
        for scored, rows in zip(found, (seen, texts), strict=True):
            scored["gradient norm"] = gradient_norms(task, rows)
        for name in found[0]:
            members, others = np.asarray(found[0][name]), np.asarray(found[1][name])
            below, above = placements(members, others), 1 - placements(others, members)
            if side.facts is side.holdout:
                # Texts cannot be distinguished from themselves: the area is exactly one half.
                below, above = np.full_like(below, 0.5), np.full_like(above, 0.5)
            yield Trial(setting=name, values=below.tolist(), facts=list(range(len(seen))), others=above.tolist())


def scores(task: CausalLM, base: CausalLM | None, rows: Sequence[Row], texts: Sequence[str]) -> dict[str, list[float]]:
    """Attack -> (rows,) scores; higher means trained on. `reference` needs the base model."""
    own = _token_scores(task, rows)
    found: dict[str, list[float]] = {name: [] for name in ("loss", "zlib", "min-k", "min-k++")}
    for (log_p, standard), text in zip(own, texts, strict=True):
        loss = -float(log_p.mean())
        lowest = max(1, round(LOWEST * len(log_p)))
        found["loss"].append(-loss)
        found["zlib"].append(-loss * len(log_p) / len(zlib.compress(text.encode())))
        found["min-k"].append(float(log_p.sort().values[:lowest].mean()))
        found["min-k++"].append(float(standard.sort().values[:lowest].mean()))
    if base is not None:
        pairs = zip(own, _token_scores(base, rows), strict=True)
        found["reference"] = [float(log_p.mean() - before.mean()) for (log_p, _), (before, _) in pairs]
    return found


def fitting(texts: Sequence[Row], longest: int, room: int | None) -> list[Row]:
    """The first texts, one more than are used before a text, as far as a model's positions allow."""
    chosen, used = [], longest
    for row in texts[: SHOTS + 1]:
        used += len(row.ids)
        if room is None or used <= room:
            chosen.append(row)
    return chosen


def prefixed(task: CausalLM, rows: Sequence[Row], before: Sequence[Sequence[Row]]) -> list[float]:
    r"""(rows,) ReCaLL: \( \log p(x \mid P) / \log p(x) \), P unseen texts (Xie et al. 2024,
    arXiv:2406.15968, equation 1). Text that was trained on loses most by a prefix.

    Args:
        before: for each row the texts before it; the row's own beginning-of-text token comes after them.
    """
    longer = []
    for row, texts in zip(rows, before, strict=True):
        prefix = [token for text in texts for token in text.ids]
        longer.append(Row((*prefix, *row.ids), len(prefix) + row.first))
    pairs = zip(_token_scores(task, longer), _token_scores(task, rows), strict=True)
    return [float(after.sum() / own.sum().clamp(max=-1e-9)) for (after, _), (own, _) in pairs]


def gradient_norms(task: CausalLM, rows: Sequence[Row]) -> list[float]:
    r"""(rows,) \( -\lVert \nabla_\theta \ell(x) \rVert_2 \) over all weights (Wang et al. 2024, arXiv:2402.17012): text
    that was trained on is near a minimum. Each weight's gradient is freed as soon as its norm is taken.

    Args:
        task: with trainable weights.
    """
    squares: list[torch.Tensor] = []

    def take(weight: torch.Tensor) -> None:
        assert weight.grad is not None
        squares.append(weight.grad.double().square().sum())
        weight.grad = None

    hooks = [p.register_post_accumulate_grad_hook(take) for p in task.model.parameters() if p.requires_grad]
    found = []
    with hooked(hooks):
        for row in rows:
            squares.clear()
            task.nll(batch_of([row])).backward()
            norm = float(torch.stack(squares).sum().sqrt())
            found.append(-norm if math.isfinite(norm) else -math.inf)
    return found


@torch.inference_mode()
def _token_scores(task: CausalLM, rows: Sequence[Row]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each row (log p of its labels, the same less its expectation, over its deviation: min-k++, equation 2)."""
    found: list[tuple[torch.Tensor, torch.Tensor]] = [(torch.empty(0), torch.empty(0))] * len(rows)
    for chosen in in_batches(rows):
        batch = batch_of([rows[i] for i in chosen])
        labels = batch.labels[:, 1:]
        target, counts = labels[labels >= 0].to(task.device), (labels >= 0).sum(1).tolist()
        log_p = task.row_logits(batch).log_softmax(-1)
        p = log_p.exp()
        mean = (p * log_p).sum(-1)
        deviation = (p * (log_p - mean[:, None]).square()).sum(-1).clamp(min=1e-12).sqrt()
        own = log_p.gather(1, target[:, None])[:, 0]
        parts = own.double().cpu().split(counts), ((own - mean) / deviation).double().cpu().split(counts)
        for i, one, other in zip(chosen, *parts, strict=True):
            found[i] = one, other
    return found
