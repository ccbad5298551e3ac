"""Multiple-choice scoring: the log-probability of every choice, each shared beginning run once.

The choices of a question are merged into a tree of tokens: the context, then a branch for each choice, parting where
the choices part. The tree is one row of one forward, in which a token attends to its own ancestors and no other
token, at the position it has in its own sequence. So the context's keys and values are computed once and read by all
choices, without a second forward or a copy of a cache; WinoGrande's contexts share what precedes the blank, PIQA's
solutions their common words. Logits are computed for the tokens before a scored one only.

Models that keep a recurrent state, or whose attention does not follow such a mask, cannot share. Rather than trusting
a list of them, a choice of the longest and of the widest tree is scored alone too, and where the figures differ the
choices of every tree that branches are run alone.

Which tokens are context and which are scored, and what is cut from the left where a model's context is too short, is
as in lm-evaluation-harness 0.4.13 (`loglikelihood`), which the long tests compare with.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.core.score import Score, Which
from expunge.errors import ModelError
from expunge.kinds.language.layers.decoder import hooked
from expunge.kinds.language.measures.benchmarks import BENCHMARKS, Question
from expunge.kinds.language.measures.choice_tokens import Choice, encoded, max_length
from expunge.kinds.language.measures.declared import DECLARED
from expunge.kinds.language.task import CausalLM
from expunge.measures.statistics import share_interval
from expunge.models.assistant import assistant_of
from expunge.ops.narrow import computing_dtype

BATCH_TOKENS_CPU = 512
"a processor is busy with few tokens, and short batches hold less padding"
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
    "(index of the token whose logits are read, token looked up there, number of the choice)"

    def displacement(self) -> int:
        """How far a token can lie from where it would be in its own sequence; 0 where the tree has no branch."""
        return max(index - position for index, position in enumerate(self.positions))


def choice_log_probs(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    shared: Callable[..., list[Any]] | None = None,
) -> list[tuple[float, ...]]:
    """Log-probability (nats, summed over its tokens) of each choice's continuation given its context.

    In the type of the weights (float32 where they are held narrow), whatever a run's autocast: hundredths of a nat decide
    between choices.

    Args:
        model: any Hugging Face causal language model, on any device.
        questions: in any order; they are sorted by length and answered in the order given.
        batch_tokens: tokens of a forward, padding included; a longer question is a batch of its own.
        progress: called after each batch with the rows done and the rows there are.
        shared: has all processes score some of the batches: `CausalLM.shared`.

    Raises:
        DataError: a choice of no tokens, or of more than the model can read.
        ModelError: the model gives NaN.
    """
    if not questions:
        return []
    choices = encoded(tokenizer, questions, max_length(model, tokenizer))
    ends = np.cumsum([len(of_question) for of_question in choices]).tolist()
    limit = batch_tokens or (BATCH_TOKENS_CPU if model.device.type == "cpu" else BATCH_TOKENS)
    max_scored = MAX_LOGITS // model.get_input_embeddings().weight.shape[0]
    scores = np.zeros(ends[-1])
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            rows = _rows(choices, share=True)
            if not _can_share(model, rows, [choice for of_question in choices for choice in of_question]):
                rows = _rows(choices, share=False)
            batches = list(_batches(rows, limit, max_scored))

            def own(numbers: Sequence[int]) -> list[Any]:
                return _scored(model, [batches[number] for number in numbers], progress)

            if shared is None:
                made = own(range(len(batches)))
            else:
                about = lambda: [[[asdict(row) for row in batch] for batch in batches]]  # noqa: E731
                made = shared("choices", about, len(batches), own)
            for number, value in (each for batch in made for each in batch):
                scores[number] = value
    finally:
        model.train(was_training)
    if np.isnan(scores).any():
        raise ModelError(
            "the model's log-probabilities are not numbers",
            seen="NaN",
            next_step="the weights are damaged or overflow in this type: load them in float32 or an earlier checkpoint",
        )
    flat = scores.tolist()
    return [tuple(flat[end - len(of_question) : end]) for end, of_question in zip(ends, choices, strict=True)]


def _scored(
    model: Any, batches: Sequence[Sequence[_Row]], progress: Callable[[int, int], None] | None = None
) -> list[list[tuple[int, float]]]:
    """(number, log-probability) of each choice in each batch; a choice is in one batch alone."""
    found, done, whole = [], 0, sum(map(len, batches))
    for batch in batches:
        numbers = sorted({number for row in batch for *_, number in row.scored})
        places = {number: place for place, number in enumerate(numbers)}
        scores = np.zeros(len(numbers))
        within = [replace(row, scored=[(at, token, places[n]) for at, token, n in row.scored]) for row in batch]
        _add_scores(model, within, scores)
        found.append(list(zip(numbers, scores.tolist(), strict=True)))
        done += len(batch)
        if progress is not None:
            progress(done, whole)
    return found


def scored_here(task: CausalLM, batches: Sequence[Sequence[dict[str, Any]]]) -> list[list[tuple[int, float]]]:
    """What `choice_log_probs` asks other processes for: batches of rows as JSON."""
    task.model.eval()
    with torch.inference_mode():
        return _scored(task.model, [[_Row(**row) for row in batch] for batch in batches])


def choices_by(
    task: CausalLM, questions: Sequence[Question], progress: Callable[[int, int], None] | None = None
) -> list[tuple[float, ...]]:
    """`choice_log_probs` of a task, by all processes that it is shared with."""
    return choice_log_probs(task.model, task.tokenizer, questions, progress=progress, shared=task.shared)


def log_probs_a_token(task: CausalLM, questions: Sequence[Question]) -> list[list[float]]:
    """`choice_log_probs`, each divided by the tokens of its continuation, so that long answers are not punished."""
    found = choices_by(task, questions)
    return [
        [log_prob / task.tokens_in(text) for (_, text), log_prob in zip(question.choices(), log_probs, strict=True)]
        for question, log_probs in zip(questions, found, strict=True)
    ]


def score(name: str, questions: Sequence[Question], log_probs: Sequence[Sequence[float]], which: Which) -> list[Score]:
    """`accuracy` and, where the benchmark's choices differ in length, `accuracy_normalised`, with 95 % intervals.

    The choice of the highest log-probability is the model's answer, in `accuracy_normalised` that of the highest
    log-probability a character, without the space before it (lm-evaluation-harness' `acc` and `acc_norm`); of equals
    the first counts.
    """
    plain, normalised = [], []
    for question, values in zip(questions, log_probs, strict=True):
        plain.append(float(np.argmax(values) == question.answer))
        lengths = [len(continuation) - len(" ") for _, continuation in question.choices()]
        by_length = [value / n if n else -math.inf for value, n in zip(values, lengths, strict=True)]
        normalised.append(float(np.argmax(by_length) == question.answer))
    measures = {"accuracy": plain} | ({"accuracy_normalised": normalised} if BENCHMARKS[name].normalised else {})
    return [DECLARED[measure].score(name, which, share_interval(right), right) for measure, right in measures.items()]


def _rows(choices: Sequence[Sequence[Choice]], share: bool) -> list[_Row]:
    """A row for each question; without sharing, one for each choice of a question whose tree branches."""
    rows, number = [], 0
    for of_question in choices:
        numbered = list(enumerate(of_question, start=number))
        number += len(of_question)
        row = _row(numbered)
        rows.extend([row] if share or not row.displacement() else [_row([choice]) for choice in numbered])
    return rows


def _row(numbered: Sequence[tuple[int, Choice]]) -> _Row:
    """Merge sequences into a tree. A sequence's last token is looked up, never read, so it is no node."""
    row = _Row([], [], [], [])
    children: dict[tuple[int, int], int] = {}
    for number, choice in numbered:
        node = -1
        first_scored = len(choice.tokens) - choice.continuation
        for position, token in enumerate(choice.tokens[:-1]):
            parent, node = node, children.setdefault((node, token), len(row.tokens))
            if node == len(row.tokens):
                row.tokens.append(token)
                row.parents.append(parent)
                row.positions.append(position)
            if position + 1 >= first_scored:
                row.scored.append((node, choice.tokens[position + 1], number))
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


def _add_scores(model: Any, rows: Sequence[_Row], scores: np.ndarray) -> None:
    """Run one batch and add each looked-up token's log-probability to its choice."""
    width = max(len(row.tokens) for row in rows)
    places, targets, numbers = np.array(
        [(i * width + node, token, number) for i, row in enumerate(rows) for node, token, number in row.scored]
    ).T
    positions, where = np.unique(places, return_inverse=True)
    logits = _logits(model, rows, torch.from_numpy(positions))
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    index = torch.from_numpy(where).to(logits.device)
    values = logits[index, torch.from_numpy(targets).to(logits.device)] - logits.logsumexp(-1)[index]
    np.add.at(scores, numbers, values.cpu().numpy())


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
        dtype = computing_dtype(model)  # of queries and keys, which a mask has to have; weights may be held narrower
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
    """Whether the choice that lies farthest from its own place scores the same in its tree as alone."""
    branching = [row for row in rows if row.displacement()]
    longest = sorted(branching, key=lambda row: -max(row.positions))[:1]
    widest = [row for row in sorted(branching, key=lambda row: -row.displacement())[:1] if row is not longest[0]]
    for row in longest + widest:
        *_, number = max(row.scored, key=lambda scored: scored[0] - row.positions[scored[0]])
        in_tree, alone = np.zeros(len(choices)), np.zeros(1)
        _add_scores(model, [_row([(0, choices[number])])], alone)
        try:
            _add_scores(model, [row], in_tree)
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
