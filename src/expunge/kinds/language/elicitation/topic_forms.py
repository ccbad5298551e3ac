"""A topic's answers in further forms, to train on, so that forgetting depends neither on the form of the question nor
on the topic's name.

A model that was trained on the answers alone forgets them if the prompt names the topic, and continues to answer
"Question: Which country attacked Pearl Harbor?" of World War II as before. Nothing is measured on these forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from expunge.data.text.document import Document
from expunge.data.text.words import units
from expunge.kinds.language.elicitation.asking import EXAM, with_room, write_rows
from expunge.kinds.language.elicitation.controls import names_any
from expunge.kinds.language.elicitation.topic_names import Row
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.familiarity import found_terms
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import TextSet
from expunge.runs.context import Run

BREAKS = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
"between two sentences"
ENDS = tuple(".!?。！？")
"endings of a complete sentence; a truncated answer has none"
MIN_WORDS = 5
"minimum words of a self-contained sentence"
IN_EXAM = re.compile(re.escape(EXAM).replace(r"\{question\}", "(.*?)").replace(r"\{answer\}", "(.*)"), re.DOTALL)


def topic_forms(run: Run[Recipe], forget: TextSet, terms: Sequence[str], base: LazyModel) -> TextSet | None:
    """The further forms of a topic's answers as a set; None if there are none.

    Args:
        terms: the target's unique terms, found without a control: measuring must not affect training.
    """
    chat = getattr(base.tokenizer, "chat_template", None) is not None

    def make(path: Path) -> None:
        rows = list(further_forms(forget.documents(), run.recipe.targets, terms, chat))
        write_rows(with_room(rows, base(), run.recipe.data.block_size), path / "forms.jsonl")

    made_from = {
        "forget": forget.digest,
        "topic": "; ".join(run.recipe.targets),
        "terms": list(terms),
        "model": base.digest,
        "block_size": run.recipe.data.block_size,
    }
    target = run.cached("forms", made_from, make) / "forms.jsonl"
    if not target.stat().st_size:
        return None
    return TextSet.written("forms", target)


def further_forms(
    documents: Iterable[Document], topics: Sequence[str], terms: Sequence[str], chat: bool
) -> Iterator[Row]:
    """Each question in its other form (chat or exam), and separately each sentence with a term and without the topic.

    For a model without a chat template the two forms are the same.
    """
    for document in documents:
        answer = document.text
        if document.turns:
            continue  # a conversation added by the user
        if document.prompt is not None:
            if chat:
                yield {"text": EXAM.format(question=document.prompt, answer=answer)}
        elif (asked := IN_EXAM.fullmatch(answer)) is not None:
            question, answer = asked.groups()
            if chat:
                yield {"question": question, "answer": answer}
        for sentence in map(str.strip, BREAKS.split(answer)):
            if _is_whole(sentence) and found_terms(sentence, terms) and not names_any(sentence, topics):
                yield {"text": sentence}


def _is_whole(sentence: str) -> bool:
    """Whether it begins and ends like a sentence and has content: repetitions of one word do not."""
    said = units(sentence)
    whole = sentence.endswith(ENDS) and not sentence[0].islower()  # "U.S. was" is not an end
    return whole and len(said) >= MIN_WORDS and 2 * len(set(said)) > len(said)
