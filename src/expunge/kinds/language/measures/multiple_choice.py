"""Multiple-choice scoring: the log-probability of every choice, each shared context run once (`token_trees`).

Which tokens are context and which are scored, and what is cut from the left if a model's context is too short, is
as in lm-evaluation-harness 0.4.13 (`loglikelihood`), which the long tests compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from expunge.core.score import Score, Which
from expunge.errors import ModelError
from expunge.kinds.language.measures.benchmarks import BENCHMARKS, Question
from expunge.kinds.language.measures.choice_tokens import encoded, max_length
from expunge.kinds.language.measures.declared import DECLARED
from expunge.kinds.language.measures.token_trees import continuation_scores
from expunge.kinds.language.task import CausalLM
from expunge.measures.statistics import share_interval


def choice_log_probs(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    batch_tokens: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    shared: Callable[..., list[Any]] | None = None,
) -> list[tuple[float, ...]]:
    """Log-probability (nats, summed over its tokens) of each choice's continuation given its context.

    In the dtype of the weights (float32 if they are narrow), whatever a run's autocast: hundredths of a nat decide
    between choices.

    Args:
        model: any Hugging Face causal language model, on any device.
        questions: in any order; they are sorted by length and answered in the order given.
        batch_tokens: tokens of a forward, padding included; a longer question is a batch of its own.
        progress: called after each batch with the rows done and the total.
        shared: distributes the batches over all processes: `CausalLM.shared`.

    Raises:
        DataError: a choice of no tokens, or of more than the model can read.
        ModelError: the model gives NaN.
    """
    if not questions:
        return []
    choices = encoded(tokenizer, questions, max_length(model, tokenizer))
    scores, _ = continuation_scores(model, choices, batch_tokens=batch_tokens, progress=progress, shared=shared)
    if np.isnan(scores).any():
        raise ModelError(
            "the model's log-probabilities are not numbers",
            seen="NaN",
            next_step="the weights are damaged or overflow in this type: load them in float32 or an earlier checkpoint",
        )
    flat, ends = scores.tolist(), np.cumsum([len(of_question) for of_question in choices]).tolist()
    return [tuple(flat[end - len(of_question) : end]) for end, of_question in zip(ends, choices, strict=True)]


def choices_by(
    task: CausalLM, questions: Sequence[Question], progress: Callable[[int, int], None] | None = None
) -> list[tuple[float, ...]]:
    """`choice_log_probs` of a task, by all processes that it is shared with."""
    return choice_log_probs(task.model, task.tokenizer, questions, progress=progress, shared=task.shared)


def log_probs_a_token(task: CausalLM, questions: Sequence[Question]) -> list[list[float]]:
    """`choice_log_probs`, each divided by the tokens of its continuation, so that long answers are not penalised."""
    found = choices_by(task, questions)
    return [
        [log_prob / task.tokens_in(text) for (_, text), log_prob in zip(question.choices(), log_probs, strict=True)]
        for question, log_probs in zip(questions, found, strict=True)
    ]


def score(name: str, questions: Sequence[Question], log_probs: Sequence[Sequence[float]], which: Which) -> list[Score]:
    """`accuracy` and, if the benchmark's choices differ in length, `accuracy_normalised`, with 95 % intervals.

    The choice of the highest log-probability is the model's answer, in `accuracy_normalised` that of the highest
    log-probability a character, without the space before it (lm-evaluation-harness' `acc` and `acc_norm`); of ties
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
