"""Log-probabilities of many continuations, each shared beginning run once.

The continuations of a question are merged into a tree of tokens: the context, then a branch for each, splitting where
they differ. The tree is one row of one forward, in which a token attends to its own ancestors and no other token, at
the position it has in its own sequence. So the context's keys and values are computed once and read by all, without a
second forward or a copy of a cache; WinoGrande's contexts share the text before the blank, PIQA's solutions their
common words, TOFU's wrong answers the question. Logits are computed for the tokens before a scored one only.

Models that keep a recurrent state, or whose attention does not follow such a mask, cannot share. Rather than trusting
a list of them, a continuation of the longest and of the widest tree is also scored alone, and if the figures differ
those of every tree that branches are run alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.kinds.language.layers.decoder import hooked
from expunge.kinds.language.measures.choice_tokens import Choice
from expunge.kinds.language.task import CausalLM
from expunge.models.assistant import assistant_of
from expunge.ops.narrow import computing_dtype

BATCH_TOKENS_CPU = 512
"few tokens keep a CPU busy, and short batches have less padding"
BATCH_TOKENS = 8192
"on an accelerator"
MAX_LOGITS = 2**26
"logits held at once (256 MiB in float32)"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Row:
    """A tree of tokens; parents come before their children, and a root's parent is -1."""

    tokens: list[int]
    parents: list[int]
    positions: list[int]
    scored: list[tuple[int, int, int]]
    "(index of the token whose logits are read, token looked up there, where its log-probability is added)"

    def displacement(self) -> int:
        """Largest distance of a token from its place in its own sequence; 0 if the tree has no branch."""
        return max(index - position for index, position in enumerate(self.positions))


def continuation_scores(
    model: Any,
    choices: Sequence[Sequence[Choice]],
    *,
    each_token: bool = False,
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    shared: Callable[..., list[Any]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(log-probability in nats, whether it is the model's first choice) of each continuation: sum and all of its
    tokens.

    In the dtype of the weights (float32 if they are narrow), whatever a run's autocast: hundredths of a nat decide.

    Args:
        model: any Hugging Face causal language model, on any device.
        choices: of each question; both results are in their order, of one after another.
        each_token: return each scored token's value instead of the sum.
        batch_tokens: tokens of a forward, padding included; a longer question is a batch of its own.
        progress: called after each batch with the rows done and the total.
        shared: distributes the batches over all processes: `CausalLM.shared`.
    """
    every = [choice for of_question in choices for choice in of_question]
    count = sum(choice.continuation for choice in every) if each_token else len(every)
    limit = batch_tokens or (BATCH_TOKENS_CPU if model.device.type == "cpu" else BATCH_TOKENS)
    max_scored = MAX_LOGITS // model.get_input_embeddings().weight.shape[0]
    scores, greedy = np.zeros(count), np.ones(count, dtype=bool)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            share = _can_share(model, _rows(choices, share=True), every)
            batches = list(_batches(_rows(choices, share, each_token), limit, max_scored))

            def own(numbers: Sequence[int]) -> list[Any]:
                return _scored(model, [batches[number] for number in numbers], progress)

            if shared is None:
                made = own(range(len(batches)))
            else:
                about = lambda: [[[asdict(row) for row in batch] for batch in batches]]  # noqa: E731
                made = shared("choices", about, len(batches), own)
            for number, value, first in (each for batch in made for each in batch):
                scores[number], greedy[number] = value, first
    finally:
        model.train(was_training)
    return scores, greedy


def _scored(
    model: Any, batches: Sequence[Sequence[_Row]], progress: Callable[[int, int], None] | None = None
) -> list[list[tuple[int, float, bool]]]:
    """(place, log-probability, whether it is the first choice) of each place of each batch; a place is in one batch
    alone."""
    found, done, whole = [], 0, sum(map(len, batches))
    for batch in batches:
        numbers = sorted({number for row in batch for *_, number in row.scored})
        places = {number: place for place, number in enumerate(numbers)}
        within = [replace(row, scored=[(at, token, places[n]) for at, token, n in row.scored]) for row in batch]
        scores, greedy = _scores(model, within, len(numbers))
        found.append(list(zip(numbers, scores.tolist(), greedy.tolist(), strict=True)))
        done += len(batch)
        if progress is not None:
            progress(done, whole)
    return found


def scored_here(task: CausalLM, batches: Sequence[Sequence[dict[str, Any]]]) -> list[list[tuple[int, float, bool]]]:
    """The job of `continuation_scores` for other processes: batches of rows as JSON."""
    task.model.eval()
    with torch.inference_mode():
        return _scored(task.model, [[_Row(**row) for row in batch] for batch in batches])


def _rows(choices: Sequence[Sequence[Choice]], share: bool, each_token: bool = False) -> list[_Row]:
    """A row for each question; without sharing, one for each choice of a question whose tree branches."""
    rows, place = [], 0
    for of_question in choices:
        placed = []
        for choice in of_question:
            placed.append((place, choice))
            place += choice.continuation if each_token else 1
        row = _row(placed, each_token)
        rows.extend([row] if share or not row.displacement() else [_row([one], each_token) for one in placed])
    return rows


def _row(placed: Sequence[tuple[int, Choice]], each_token: bool = False) -> _Row:
    """Merge sequences into a tree. A sequence's last token is only looked up, so it is not a node."""
    row = _Row([], [], [], [])
    children: dict[tuple[int, int], int] = {}
    for place, choice in placed:
        node = -1
        first_scored = len(choice.tokens) - choice.continuation
        for position, token in enumerate(choice.tokens[:-1]):
            parent, node = node, children.setdefault((node, token), len(row.tokens))
            if node == len(row.tokens):
                row.tokens.append(token)
                row.parents.append(parent)
                row.positions.append(position)
            if position + 1 >= first_scored:
                token = choice.tokens[position + 1]
                row.scored.append((node, token, place + (position + 1 - first_scored) * each_token))
    return row


def _batches(rows: Sequence[_Row], max_tokens: int, max_scored: int) -> Iterator[list[_Row]]:
    """Rows, longest first, in batches within both limits (or of one row)."""
    batch: list[_Row] = []
    scored = 0
    for row in sorted(rows, key=lambda row: -len(row.tokens)):
        if batch and ((len(batch) + 1) * len(batch[0].tokens) > max_tokens or scored + len(row.scored) > max_scored):
            yield batch
            batch, scored = [], 0
        batch.append(row)
        scored += len(row.scored)
    if batch:
        yield batch


def _scores(model: Any, rows: Sequence[_Row], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Run one batch, and add each looked-up token's log-probability where it belongs, of `count` places."""
    scores, greedy = np.zeros(count), np.ones(count, dtype=bool)
    width = max(len(row.tokens) for row in rows)
    places, targets, numbers = np.array(
        [(i * width + node, token, number) for i, row in enumerate(rows) for node, token, number in row.scored]
    ).T
    positions, where = np.unique(places, return_inverse=True)
    logits = _logits(model, rows, torch.from_numpy(positions))
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    index = torch.from_numpy(where).to(logits.device)
    wanted = torch.from_numpy(targets).to(logits.device)
    values = logits[index, wanted] - logits.logsumexp(-1)[index]
    np.add.at(scores, numbers, values.cpu().numpy())
    np.logical_and.at(greedy, numbers, (logits.argmax(-1)[index] == wanted).cpu().numpy())
    return scores, greedy


def _logits(model: Any, rows: Sequence[_Row], positions: Tensor) -> Tensor:
    """Logits (len(positions), vocabulary) at `positions` of the flattened batch (rows, width)."""
    width = max(len(row.tokens) for row in rows)
    branching = any(row.displacement() for row in rows)
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        tokens[i, : len(row.tokens)] = row.tokens
    if branching:
        inputs = _tree_inputs(rows, width)
    else:
        lengths = np.array([len(row.tokens) for row in rows])
        inputs = {"attention_mask": (np.arange(width) < lengths[:, None]).astype(np.int64)}
    inputs["input_ids"] = tokens
    tensors = {name: torch.from_numpy(value).to(model.device) for name, value in inputs.items()}
    if branching:
        allowed = tensors["attention_mask"][:, None]
        dtype = computing_dtype(model)  # the mask must have the dtype of queries and keys; weights may be narrower
        mask = torch.zeros(allowed.shape, dtype=dtype, device=model.device)
        tensors["attention_mask"] = mask.masked_fill_(~allowed, torch.finfo(dtype).min)

    kept = []

    def keep(_: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        kept.append(True)
        return (arguments[0].flatten(0, 1)[positions.to(arguments[0].device)][None],)

    heads = [each.get_output_embeddings() for each in (model, assistant_of(model)) if each is not None]
    with hooked(head.register_forward_pre_hook(keep) for head in heads if head is not None):
        logits = model(**tensors, use_cache=False).logits.flatten(0, 1)
    return logits if kept else logits[positions.to(logits.device)]


def _tree_inputs(rows: Sequence[_Row], width: int) -> dict[str, np.ndarray]:
    """Positions (rows, width), and whether a token (second axis) attends to another (third): to itself and its
    ancestors; padding to itself, so that no softmax is over nothing."""
    positions = np.zeros((len(rows), width), dtype=np.int64)
    attends = np.tile(np.eye(width, dtype=bool), (len(rows), 1, 1))
    for i, row in enumerate(rows):
        positions[i, : len(row.tokens)] = row.positions
        for node, parent in enumerate(row.parents):
            if parent >= 0:
                attends[i, node] |= attends[i, parent]
    return {"position_ids": positions, "attention_mask": attends}


def _can_share(model: Any, rows: Sequence[_Row], choices: Sequence[Choice]) -> bool:
    """Whether the choice farthest from its own place scores the same in its tree as alone."""
    branching = [row for row in rows if row.displacement()]
    longest = sorted(branching, key=lambda row: -max(row.positions))[:1]
    widest = [row for row in sorted(branching, key=lambda row: -row.displacement())[:1] if row is not longest[0]]
    for row in longest + widest:
        *_, number = max(row.scored, key=lambda scored: scored[0] - row.positions[scored[0]])
        alone, _ = _scores(model, [_row([(0, choices[number])])], 1)
        try:
            in_tree, _ = _scores(model, [row], len(choices))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}"
            break
        difference = abs(in_tree[number] - alone[0])
        per_token = (
            1e-3 if torch.finfo(computing_dtype(model)).eps < 1e-5 else 0.2
        )  # half precision rounds this coarsely
        if difference > per_token * choices[number].continuation:
            reason = f"a log-probability differs by {difference:.2g}"
            break
    else:
        return True
    log.warning("choices are scored one by one, since this model cannot share a context among them (%s)", reason)
    return False
