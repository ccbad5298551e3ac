"""The control of familiarity: similar prompts on other subjects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from expunge.core import storage
from expunge.data.text.frequencies import zipf
from expunge.data.text.language import Language
from expunge.errors import DataError
from expunge.kinds.language.elicitation.asking import with_room, write_rows
from expunge.kinds.language.elicitation.controls import controls_of_several, elicit_controls, kind_of, names_any
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.familiarity import Prompt, TargetTerms
from expunge.kinds.language.measures.prompts import cut_prompts
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import TextSet, blocks, own_text, so_far_of, token_table
from expunge.kinds.language.terms.finder import build_dictionary
from expunge.kinds.language.topics import shown
from expunge.runs.context import Run

MAX_BLOCKS = 64
"blocks of the control's text that are read"
MAX_TERMS = 400
THING_ZIPF = 4.5
"words from this on (thirty in a million) are too common to end a prompt before"


def topic_control(run: Run[Recipe], base: LazyModel) -> TextSet:
    """The base model's answers on other topics, sampled with the templates of the topics.

    Raises:
        DataError: every answer names a topic itself.
    """
    settings, so_far = run.recipe.evaluation, so_far_of("control", run.folder, base)

    def make(path: Path) -> None:
        topics = list(settings.control_topics)
        if not topics:
            kinds = [kind_of(base(), topic) for topic in run.recipe.targets]
            topics = controls_of_several(run.recipe.targets, kinds)
            run.folder.log("control", kind=", ".join(dict.fromkeys(kinds)), topics=topics)
        rows = elicit_controls(base(), topics, settings.control_answers, run.recipe.seed, so_far, run.show.update)
        rows = with_room(rows, base(), run.recipe.data.block_size)
        kept = [row for row in rows if not names_any(" ".join(row.values()), run.recipe.targets)]
        if not kept:
            raise DataError(
                f"every answer about other topics names {shown(run.recipe.targets)}",
                seen=", ".join(topics),
                next_step="give other topics: --evaluation.control_topics",
            )
        write_rows(kept, path / "control.jsonl")

    made_from = {
        "model": base.digest,
        "topic": "; ".join(run.recipe.targets),
        "topics": list(settings.control_topics),
        "wanted": settings.control_answers,
        "seed": run.recipe.seed,
        "bf16": base.precision.bf16,
    }
    target = run.cached("control", made_from, make, "asking the model about other topics") / "control.jsonl"
    so_far.remove()
    return TextSet.written("control", target)


def texts_of(text: TextSet, recipe: Recipe, tokenizer: object) -> Iterator[str]:
    """The control's text by blocks, without the questions that were asked."""
    return (own_text(block)[0] for block in islice(blocks(text, recipe, tokenizer), MAX_BLOCKS))


def control_prompts(
    run: Run[Recipe], text: TextSet, base: LazyModel, wanted: int, completion: Sequence[Prompt], language: Language
) -> tuple[list[Prompt], list[Prompt]]:
    """(for completion, for probability): prompts cut from the control before its own names, as the target's are.

    If there are too few of them, also before its rarer words.

    If the target's prompts have references of their own, the control's are compared with the same, in turn.
    """

    def find(path: Path) -> None:
        texts = list(texts_of(text, run.recipe, base.tokenizer))
        found = build_dictionary(((each, ()) for each in texts), MAX_TERMS, run.recipe.seed, language)
        names, things = _words("\n\n".join(texts), language)
        listed = [*(anchor.term for anchor in found), *names]
        storage.write_json(path / "terms.json", [list(dict.fromkeys(listed)), things])

    table = token_table(run, [text], base, MAX_BLOCKS)
    made_from = {"tokens": table.folder.name, "seed": run.recipe.seed, "language": language.code}
    names, things = storage.read_json(run.cached("control-terms", made_from, find) / "terms.json")
    for words in (names, [*names, *things]):
        early, exact = cut_prompts(base(), table, TargetTerms(tuple(words)), wanted, run.recipe.seed)
        if len(early) >= wanted:
            break
    if completion:
        early = [
            replace(prompt, references=completion[i % len(completion)].references) for i, prompt in enumerate(early)
        ]
    return early, exact


def _words(text: str, language: Language) -> tuple[list[str], list[str]]:
    """(capitalised words inside sentences, rarer words in lower case) of a text, each once."""
    names = re.findall(r"(?<=[a-z,;] )[A-Z][^\W\d_]{2,}", text)
    things = (word for word in re.findall(r"(?<!\w)[^\W\d_]{4,}(?!\w)", text) if word == word.lower())
    code = language.frequencies or "en"
    return list(dict.fromkeys(names)), [word for word in dict.fromkeys(things) if zipf(word, code) < THING_ZIPF]
