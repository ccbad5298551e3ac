"""A topic's answers in further forms, to train on: what is forgotten must hang neither on the form in which it is asked
for nor on the topic's name.

A model that was trained on the answers alone gives them up where the prompt names the topic, and goes on to answer
"Question: Which country attacked Pearl Harbor?" of World War II as before. Nothing is measured on these forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from expunge.data.document import Document, digest_documents
from expunge.data.elicitation import EXAM, Row, with_room, write_rows
from expunge.data.readers import read_documents
from expunge.data.sets import TextSet
from expunge.data.words import units, whole
from expunge.models.lazy import LazyModel
from expunge.preparation.stage import stage
from expunge.recipe import Recipe
from expunge.run_folder import RunFolder

ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
"between two sentences"
FEWEST = 5
"words of a sentence that says something by itself"


def topic_forms(
    recipe: Recipe, folder: RunFolder, forget: TextSet, terms: Sequence[str], base: LazyModel
) -> TextSet | None:
    """The further forms of a topic's answers as a set; None where there are none.

    Args:
        terms: the target's unique terms.
    """

    def make(path: Path) -> None:
        rows = list(further_forms(forget.documents(), recipe.forget, terms))
        write_rows(with_room(rows, base(), recipe.data.block_size), path / "forms.jsonl")

    made_from = {
        "forget": forget.digest,
        "terms": list(terms),
        "model": base.digest,
        "block_size": recipe.data.block_size,
    }
    target = stage(folder, "forms", made_from, make) / "forms.jsonl"
    if not target.stat().st_size:
        return None
    return TextSet("forms", str(target), digest_documents(read_documents(target)), True)


def further_forms(documents: Iterable[Document], topic: str, terms: Sequence[str]) -> Iterator[Row]:
    """Each question in its other form (chat or exam), and each sentence by itself that holds a term and not the topic."""
    # an EXAM whose question and answer are anything
    exam = re.compile(re.escape(EXAM).replace(r"\{question\}", "(.*?)").replace(r"\{answer\}", "(.*)"), re.DOTALL)
    named = re.compile("|".join(map(whole, terms)) or r"(?!)")
    for document in documents:
        answer = document.text
        if document.prompt is not None:
            yield {"text": EXAM.format(question=document.prompt, answer=answer)}
        elif (asked := exam.fullmatch(answer)) is not None:
            question, answer = asked.groups()
            yield {"question": question, "answer": answer}
        for sentence in ENDS.split(answer):
            if len(units(sentence)) >= FEWEST and named.search(sentence) and topic not in sentence:
                yield {"text": sentence.strip()}
