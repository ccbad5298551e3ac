"""A model's answers to questions: the likelihood of each given answer, and its own answer.

The likelihoods of all answers come from one pass over them, its own answers from one generation; every measure of
`measures.language` is computed from these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from expunge.core import storage
from expunge.data.text.document import Document, Turn
from expunge.errors import DataError, DivergedError
from expunge.kinds.language.limits import positions
from expunge.kinds.language.measures.benchmarks import Question
from expunge.kinds.language.measures.choice_tokens import Choice
from expunge.kinds.language.measures.multiple_choice import choices_by
from expunge.kinds.language.measures.question_forms import PASSAGE, QUESTION, Form, tokenize
from expunge.kinds.language.measures.token_trees import continuation_scores
from expunge.kinds.language.question_rows import QuestionRow
from expunge.kinds.language.task import CausalLM
from expunge.measures.language.answers import min_k

BATCH = 16
"questions answered at once"
NEW_TOKENS = 200
"tokens of an answer, at most: TOFU's and OpenUnlearning's"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its answers.

    Attributes:
        question, answer: as the model is trained on them.
        paraphrased: the answer in other words; None if there is none.
        perturbed: wrong answers of the same form.
        source: where it is from.
        form: its form.
        turns: all turns before the answer, if more than the question; of the form `question`.
    """

    question: str
    answer: str
    paraphrased: str | None = None
    perturbed: tuple[str, ...] = ()
    source: str = ""
    form: Form = QUESTION
    turns: tuple[Turn, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether it is plain text, without a question."""
        return self.form.kind == "passage"

    @property
    def is_said(self) -> bool:
        """Whether an answer is generated."""
        return self.form.kind not in ("passage", "choice")

    def document(self, answer: str | None = None) -> Document:
        """The question with an answer; the true one if none is given."""
        text = self.answer if answer is None else answer
        return Document(text, None if self.is_text else self.question, self.source, turns=self.turns)


def passage(text: str, source: str) -> Asked:
    """A plain text: trained on as it is, and only its likelihood is measured."""
    return Asked("", text, source=source, form=PASSAGE)


@dataclass(frozen=True, slots=True)
class Answered:
    """A model's answers to one question; likelihoods are mean log-probabilities in nats.

    Attributes:
        log_p: of the true answer, including the end of the turn.
        greedy: whether each of its tokens, without that end, is the first choice.
        min_k: the mean of its least likely tokens, without that end.
        paraphrased, perturbed: of the other answers, if any.
        said: the model's greedy answer; None if it was not asked.
        true: the part of the true answer that counts, if it was cut.
    """

    log_p: float
    greedy: tuple[bool, ...]
    min_k: float
    paraphrased: float | None
    perturbed: tuple[float, ...]
    said: str | None
    true: str | None = None

    def row(self) -> dict[str, Any]:
        """A JSON value that `of` reads."""
        return asdict(self) | {"greedy": "".join("01"[right] for right in self.greedy), "perturbed": [*self.perturbed]}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Answered:
        greedy = tuple(each == "1" for each in row["greedy"])
        return cls(**{**row, "greedy": greedy, "perturbed": tuple(row["perturbed"])})


def digest_asked(rows: Sequence[Asked]) -> str:
    """Digest of all questions; their source does not count."""

    def said(row: Asked) -> list[Any]:
        form = [] if row.form == QUESTION else [asdict(row.form)]
        turns = [[[turn.role, turn.text] for turn in row.turns]] if row.turns else []
        return [row.question, row.answer, row.paraphrased, list(row.perturbed), *form, *turns]

    return storage.digest_value([said(row) for row in rows])


def answer_questions(
    task: CausalLM,
    rows: Sequence[Asked],
    *,
    new_tokens: int = NEW_TOKENS,
    generate: bool = True,
    batch: int = BATCH,
    show: Callable[[float, str], None] = lambda share, note: None,
) -> list[Answered]:
    """Ask a model; in float32 whatever the run's dtype, so that the batch size changes no score.

    Raises:
        DataError: a question with its answer is longer than the model's positions.
        DivergedError: the model's likelihoods are not finite.
    """
    task = task.exact()
    if rows and rows[0].form.kind == "choice":
        return _chosen(task, rows, show)
    tokens = tokenize(
        task.tokenizer,
        [(row.form, row.document(text)) for row in rows for text in _texts(row)],
        positions(task.model.config),
    )
    _refuse_long(tokens, positions(task.model.config))
    remaining = iter(tokens)
    answers = [[next(remaining) for _ in _texts(row)] for row in rows]
    found = _likelihoods(task, answers, lambda share: show(0.5 * share, "likelihoods"))
    prompts = [true.ids[: true.first_label] for true, *_ in answers]
    said: Sequence[str | None] = [None] * len(rows)
    if generate and all(row.is_said for row in rows):
        most = rows[0].form.new_tokens or new_tokens
        texts_of = task.generate(
            prompts, most, batch_size=batch, on_progress=lambda share: show(0.5 + 0.5 * share, "answers")
        )
        said = [row.form.ended(each[0]).strip() for row, each in zip(rows, texts_of, strict=True)]
    decode = task.tokenizer.decode
    cut = [
        decode(first.ids[first.first_label :], skip_special_tokens=True) if row.form.cut else None
        for row, (first, *_) in zip(rows, answers, strict=True)
    ]
    return [_answered(*each) for each in zip(rows, found, said, cut, strict=True)]


def _texts(row: Asked) -> list[str]:
    """All answers to a question, the true one first."""
    return [row.answer, *([row.paraphrased] if row.paraphrased is not None else []), *row.perturbed]


def _chosen(task: CausalLM, rows: Sequence[Asked], show: Callable[[float, str], None]) -> list[Answered]:
    """Likelihood of each choice of a multiple-choice question, summed over its tokens: `log_p` of the right one."""
    questions = [Question((row.question,), tuple(f" {text}" for text in _texts(row)), 0) for row in rows]
    found = choices_by(task, questions, progress=lambda done, of: show(done / of, "choices"))
    return [Answered(right, (), right, None, tuple(wrong), None) for right, *wrong in found]


@dataclass(frozen=True, slots=True)
class _Scored:
    log_p: list[float]
    greedy: list[bool]
    ends: bool
    "whether the last token is the end of the turn"

    @property
    def mean(self) -> float:
        return math.fsum(self.log_p) / len(self.log_p)


def _likelihoods(
    task: CausalLM, tokens: Sequence[Sequence[QuestionRow]], show: Callable[[float], None]
) -> list[list[_Scored]]:
    """Likelihoods of the answers to each question; the question runs once for all of them."""
    special = set(task.tokenizer.all_special_ids)
    choices = [[Choice(list(row.ids), len(row.ids) - max(1, row.first_label)) for row in rows] for rows in tokens]
    log_p, greedy = continuation_scores(
        task.model, choices, each_token=True, progress=lambda done, of: show(done / of), shared=task.shared
    )
    found: list[list[_Scored]] = []
    start = 0
    for rows, of_question in zip(tokens, choices, strict=True):
        found.append([])
        for row, choice in zip(rows, of_question, strict=True):
            own = slice(start, start + choice.continuation)
            start = own.stop
            if not np.isfinite(log_p[own]).all():
                raise DivergedError(
                    "the model's likelihoods are not finite",
                    seen=row.source,
                    next_step="lower the learning rate, or train for fewer steps",
                )
            ends = row.ids[-1] in special and choice.continuation > 1
            found[-1].append(_Scored(log_p[own].tolist(), greedy[own].tolist(), ends))
    return found


def _answered(row: Asked, found: Sequence[_Scored], said: str | None, cut: str | None) -> Answered:
    true, others = found[0], found[1:]
    own = len(true.log_p) - true.ends
    paraphrased = others[0].mean if row.paraphrased is not None else None
    return Answered(
        log_p=true.mean,
        greedy=tuple(true.greedy[:own]),
        min_k=min_k(true.log_p[:own]),
        paraphrased=paraphrased,
        perturbed=tuple(each.mean for each in others[len(others) - len(row.perturbed) :]),
        said=said,
        true=cut,
    )


def _refuse_long(tokens: Sequence[QuestionRow], limit: int | None) -> None:
    longest = max(tokens, key=lambda row: len(row.ids))
    if limit is not None and len(longest.ids) > limit:
        raise DataError(
            f"{longest.source}: question and answer are longer than the model can read",
            seen=f"{len(longest.ids)} tokens",
            allowed=f"at most {limit}",
            next_step="shorten the row, or leave it out",
        )
