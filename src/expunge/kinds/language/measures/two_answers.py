"""Questions with two answers: does the model find the true one likelier? Chance is one in two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core.score import Score, Which
from expunge.errors import DataError
from expunge.kinds.language.measures.benchmarks import Question
from expunge.kinds.language.measures.declared import DECLARED
from expunge.kinds.language.measures.multiple_choice import log_probs_a_token
from expunge.kinds.language.task import CausalLM
from expunge.measures.statistics import share_interval

FORM = '{"question": "...", "true_answer": "...", "false_answer": "..."}'
SHOWN = 8
"questions whose answers are in the report"


@dataclass(frozen=True, slots=True)
class TwoAnswers:
    question: str
    true_answer: str
    false_answer: str


def read_two_answers(path: Path) -> list[TwoAnswers]:
    """Read questions from JSONL with `question`, `true_answer` and `false_answer`.

    Raises:
        DataError: names the file and line.
    """
    if not path.is_file():
        raise DataError(f"there is no file of questions {path}", allowed=f"JSON lines: {FORM}")
    questions = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number} is not valid JSON", seen=str(error)) from error
        names = ("question", "true_answer", "false_answer")
        texts = [row.get(name) if isinstance(row, dict) else None for name in names]
        fields = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
        if len(fields) < len(names) or fields[1] == fields[2]:
            raise DataError(
                f"{path}:{number} is not a question with two different answers",
                seen=line.decode(errors="replace").strip()[:120],
                allowed=FORM,
            )
        questions.append(TwoAnswers(*fields))
    if not questions:
        raise DataError(f"{path} has no questions", allowed=f"JSON lines: {FORM}")
    return questions


def two_answers(
    task: CausalLM, questions: Sequence[TwoAnswers], which: Which
) -> tuple[list[Score], list[dict[str, Any]]]:
    """Share of questions whose true answer is likelier than the false one by mean log-probability a token; ties count
    one half. Without autocast.

    Returns:
        `two_answers` on the split "forget", and on "control" the same with the questions left out: the answers alone
        give away. If every answer is once true and once false against the same other one, that is exactly 0.5. And the
        chosen answers to the first few.
    """
    asked = choices(task, [f"Question: {each.question}\nAnswer:" for each in questions], questions)
    blind = choices(task, ["Answer:"] * len(questions), questions)
    measure = DECLARED["two_answers"]
    scores = [
        measure.score(split, which, share_interval(values), values)
        for split, values in (("forget", asked), ("control", blind))
    ]
    said = [
        {
            "prompt": each.question,
            "said": each.true_answer if value > 0.5 else each.false_answer,
            "true": each.true_answer,
        }
        for each, value in zip(questions[:SHOWN], asked, strict=False)
    ]
    return scores, said


def choices(task: CausalLM, contexts: Sequence[str], questions: Sequence[TwoAnswers]) -> list[float]:
    """1 if the true answer is likelier after its context, 0 if the false one is, one half for a tie."""
    asked = [
        Question((context,), (f" {each.true_answer}", f" {each.false_answer}"), 0)
        for context, each in zip(contexts, questions, strict=True)
    ]
    found = log_probs_a_token(task, asked)
    return [0.5 if abs(true - false) < 1e-9 else float(true > false) for true, false in found]
