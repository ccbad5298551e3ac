"""Measure what a model knows of each of several targets, in addition to all of them together.

Each target has its own prompts, passages and blocks, fewer than the whole forget set; the verdict uses
the whole, and a target that is still known is named (`kinds/language/target_verdicts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from expunge.core.score import Score, Which
from expunge.kinds.language.measures.declared import DECLARED
from expunge.kinds.language.measures.familiarity import (
    Prompt,
    TargetTerms,
    familiarity_by_completion,
    familiarity_by_probability,
)
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.measures.recall import verbatim_recall
from expunge.kinds.language.recipe import Evaluation
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.measures.statistics import share_interval
from expunge.runs.measure import TARGET

EACH, ALL, FEWEST = 8, 96, 2
"prompts, passages and blocks of one target; of all together; and of one if there are many targets"
RECITED = ("verbatim_recall", "extraction_strength")
"of recall: this project's own definitions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One of several targets, and its texts to measure."""

    name: str
    table: TokenTable
    "its blocks of the forget set; none if the model said nothing about it"
    completion: Sequence[Prompt] = ()
    probability: Sequence[Prompt] = ()
    secrets: Sequence[int] = ()
    "indices of its secrets among the run's"

    @property
    def split(self) -> str:
        return TARGET + self.name


def share_of_each(targets: int) -> int:
    """Number of prompts, passages and blocks of each target to measure."""
    return max(FEWEST, min(EACH, ALL // max(1, targets)))


def target_scores(
    task: CausalLM,
    targets: Sequence[Target],
    terms: TargetTerms,
    which: Which,
    settings: Evaluation,
    seed: int,
    asked: Callable[..., bool],
) -> list[Score]:
    """Familiarity, recall and perplexity of each target, on the split `forget/NAME`; with those of its secrets.

    Args:
        terms: terms of all targets: a prompt about one of them that is completed with a term of another shows
            familiarity, too.
        asked: (split, measure, ...) whether one of these scores is wanted.
    """
    found: list[Score] = []
    if any(asked(target.split, "familiarity_completion") for target in targets):
        prompts = [prompt for target in targets for prompt in target.completion]
        if prompts:
            length, samples = settings.max_new_tokens, settings.samples
            whole, _ = familiarity_by_completion(
                task, prompts, terms, which, max_new_tokens=length, samples=samples, seed=seed
            )
            found += _of_each(whole, [(target.split, len(target.completion)) for target in targets])
    if any(asked(target.split, "familiarity_probability") for target in targets):
        prompts = [prompt for target in targets for prompt in target.probability]
        if prompts:
            whole = familiarity_by_probability(task, prompts, terms, which)
            found += _of_each(whole, [(target.split, len(target.probability)) for target in targets])
    most = min(share_of_each(len(targets)), settings.max_blocks)
    for target in targets:
        if not len(target.table):
            continue
        if asked(target.split, *RECITED):
            scores, _ = verbatim_recall(task, target.table, target.split, which, most)
            found += [score for score in scores if score.measure in RECITED]
        if asked(target.split, "perplexity"):
            found.append(perplexity(task, target.table, target.split, which, most))
    return found


def _of_each(whole: Score, counts: Sequence[tuple[str, int]]) -> list[Score]:
    """Split a score over the prompts of all targets into a score of each target that has some."""
    found: list[Score] = []
    start = 0
    for split, count in counts:
        values = whole.examples[start : start + count]
        start += count
        if values:
            found.append(DECLARED[whole.measure].score(split, whole.model, share_interval(values), values))
    return found
