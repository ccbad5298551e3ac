"""Inspect what would be forgotten: the target as read, its terms, what a model knows of it, and its overlap with the
retain set.

Nothing is trained. The measures are those of a run, on a small sample, within the given time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from expunge.core.progress import Silent
from expunge.core.score import Score
from expunge.data.text.files_read import files_read
from expunge.data.text.language import Language, language_notes, language_of
from expunge.data.text.ngrams import NGRAM, NgramIndex
from expunge.data.text.overlap import refuse_overlap
from expunge.errors import DataError, RecipeError
from expunge.kinds.language.inputs import find_secrets, found_terms
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.limits import fit_lengths
from expunge.kinds.language.measures.familiarity import Prompt, TargetTerms, familiarity_by_completion
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.measures.prompts import cut_prompts
from expunge.kinds.language.measures.recall import verbatim_recall
from expunge.kinds.language.paths import resolve_paths
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sets import TextSet, forget_set, given_set, token_table
from expunge.kinds.language.token_dataset import TokenTable
from expunge.models.source import find_model
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.train.precision import Precision

ANSWERS = 8
"answers about a topic to sample; a run asks for ten times as many"
FEWEST = 2
"of each of several topics"
BLOCKS, PASSAGES, PROMPTS = 16, 8, 8
"blocks to score, passages to recite, and prompts to continue, at most"
SHOWN = 40
"terms to list"


def inspect_target(recipe: Recipe, seconds: float, show: Silent | None = None) -> dict[str, Any]:
    """Return what a run of a recipe would forget, as a JSON value.

    Args:
        seconds: time for measuring; reading and finding terms come before, without a limit.

    Raises:
        DataError: a target or retain set that cannot be read.
        RecipeError: tables of toxicity, which have no terms.
        ModelError: a model that cannot be found or loaded.
    """
    show, began = show or Silent(), time.monotonic()
    recipe = resolve_paths(recipe)
    if recipe.forget_kind == "toxicity":
        raise RecipeError(
            "toxic statements have no terms and recall to show",
            next_step="expunge evaluate MODEL --toxicity-prompts PROMPTS.jsonl measures how toxic a model is",
        )
    answers = max(FEWEST, ANSWERS // len(recipe.targets))
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"elicited_answers": answers})})
    source = find_model(recipe.model, recipe.revision)
    recipe, shortened = fit_lengths(recipe, source)
    base = LazyModel(source, Precision(recipe.training.bf16))
    with tempfile.TemporaryDirectory(prefix="expunge-inspect-") as place:
        run = Run(recipe, RunFolder(place).create(), show)
        forget = forget_set(run, base)
        table = token_table(run, [forget], base)
        given = None if recipe.retain is None else given_set("retain", [recipe.retain], recipe, show)
        language = language_of((document.text for document in forget.documents()), recipe.data.language)
        terms = found_terms(run, forget, table, given, None, language, base.tokenizer)
        found: dict[str, Any] = {
            "model": recipe.model,
            "target": _set(forget, table, language),
            "files": [entry for each in forget.targets if (entry := files_read("forget", each, forget.columns))],
            "terms": {
                "found": len(terms["unique"]),
                "unique": terms["unique"][:SHOWN],
                "typical": terms["typical"][:SHOWN],
                "shared_with_retain": list(terms["shared"]),
            },
            "secrets": [
                secret.text for secret in find_secrets(recipe, forget, table, base.tokenizer, bool(terms["unique"]))
            ],
            "retain": None,
            "overlap": None,
        }
        tables = {"forget": table}
        if given is not None:
            tables["retain"] = token_table(run, [given], base)
            found["retain"] = _set(given, tables["retain"], None)
            found["overlap"] = _overlap(forget, given)
        knows = _Knows(base, seconds, show)
        for split, each in tables.items():
            knows.measure(f"perplexity of the {split} set", BLOCKS, partial(_perplexity, base, each, split))
        for split, each in tables.items():
            knows.measure(f"verbatim recall of the {split} set", PASSAGES, partial(_recall, base, each, split))
        known = TargetTerms(tuple(terms["unique"]), tuple(terms["typical"]), language.frequencies or "en")
        familiar = bool(known.unique) and recipe.evaluation.familiarity
        prompts = cut_prompts(base(), table, known, PROMPTS, recipe.seed)[0] if familiar else []
        if prompts:
            knows.measure(
                "familiarity by completion", len(prompts), partial(_familiarity, base, prompts, known, recipe)
            )
        found["knows"], found["not_measured"] = knows.rows, knows.left
        notes = [*shortened, *forget.notes, *run.notices(), *language_notes(language, True), *_of_terms(known, prompts)]
        found["notes"] = list(dict.fromkeys(notes))
    found["seconds"] = round(time.monotonic() - began, 1)
    return found


def _perplexity(base: LazyModel, table: TokenTable, split: str, most: int) -> list[Score]:
    return [perplexity(base(), table, split, "base", most)]


def _recall(base: LazyModel, table: TokenTable, split: str, most: int) -> list[Score]:
    return verbatim_recall(base(), table, split, "base", most)[0][:1]


def _familiarity(
    base: LazyModel, prompts: Sequence[Prompt], terms: TargetTerms, recipe: Recipe, most: int
) -> list[Score]:
    """Familiarity from greedy completions only, without a control."""
    length = recipe.evaluation.max_new_tokens
    chosen = prompts[:most]
    return [
        familiarity_by_completion(base(), chosen, terms, "base", max_new_tokens=length, samples=0, seed=recipe.seed)[0]
    ]


def _set(text: TextSet, table: TokenTable, language: Language | None) -> dict[str, Any]:
    documents = [document for document in text.documents() if not document.continues]
    found = {
        "name": text.shown,
        "asked_of_the_model": text.generated,
        "documents": len(documents),
        "questions": sum(document.prompt is not None for document in documents),
        "characters": sum(len(document.text) for document in text.documents()),
        "blocks": len(table),
        "tokens": int(table.tokens),
    }
    return found | ({} if language is None else {"language": language.name})


def _overlap(forget: TextSet, given: TextSet) -> dict[str, Any]:
    """Overlap of the retain set with the target, and what a run would report about it."""
    shared = total = 0
    example = ""
    for match in NgramIndex(forget.documents()).match(given.documents()):
        shared, total = shared + match.shared, total + match.total
        example = example or match.example
    refused = None
    try:
        refuse_overlap(forget.documents(), given.documents())
    except DataError as error:
        refused = f"{error.what}; {error.seen}"
    return {"share": shared / max(1, total), "run_length": NGRAM, "example": example, "refused": refused}


def _of_terms(terms: TargetTerms, prompts: object) -> list[str]:
    if not terms.unique:
        return ["no terms of the target were found: anchors are not available, and familiarity is not measured"]
    return [] if prompts else ["no prompt could be cut before a term, so familiarity is not measured"]


class _Knows:
    """Measures, each on a sample that fits into its share of the time."""

    def __init__(self, base: LazyModel, seconds: float, show: Silent) -> None:
        self._show = show
        show.stage("loading the model")
        base()
        self._until = time.monotonic() + seconds
        self.rows: list[dict[str, Any]] = []
        self.left: list[str] = []

    def measure(self, name: str, most: int, take: Callable[[int], list[Score]]) -> None:
        """One example first: its time decides how many more to do (in half of the time left)."""
        left = self._until - time.monotonic()
        if left <= 0:
            self.left.append(f"{name}: out of time")
            return
        self._show.stage(name)
        began = time.monotonic()
        scores = take(1)
        wanted = min(most, int(0.5 * left / max(1e-6, time.monotonic() - began)))
        if wanted > 1:
            scores = take(wanted)
        if not scores:
            self.left.append(f"{name}: no passage is long enough")
        for score in scores:
            row = {"measure": score.measure, "split": score.split, "value": score.value, "low": score.low}
            self.rows.append(row | {"high": score.high, "n": len(score.examples), "unit": score.unit})
