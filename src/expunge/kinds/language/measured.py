"""Scores of one language model of a run; each part is cached."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.score import Score, Which
from expunge.kinds.language.inputs import MAX_PROMPTS, Sets
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.judged import judge, judge_messages
from expunge.kinds.language.measures.scores import (
    CORE,
    Measured,
    Wanted,
    measure_benchmarks,
    measure_core,
    measure_questions,
)
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.toxicity.measured import measured_toxicity
from expunge.models.endpoint import KEY
from expunge.runs.context import Run
from expunge.runs.extras import extra_scores

WORDS = {"base": "the base model", "unlearned": "the unlearned model", "retrained": "the retrained model"}

NOT_OF_CORE = {
    "benchmarks",
    "benchmark_rows",
    "control_answers",
    "control_topics",
    "familiarity",
    "judge_url",
    "judge_model",
    "questions",
}
"settings that do not affect the standard measures"


def measure(run: Run[Recipe], model: LazyModel, sets: Sets, which: Which) -> Measured:
    """Scores of one model; earlier results are read from the run folder."""
    recipe, settings = run.recipe, run.recipe.evaluation
    of_model = {"which": which, "model": model.digest, "arithmetic": model.precision.arithmetic, "seed": recipe.seed}
    measured = _core(run, model, sets, which, of_model)
    if settings.judge_url is not None and sets.material.completion:
        measured.grades = _grades(run, sets, which, [row["said"] for row in measured.said["completion prompt"]])
    if settings.questions is not None:
        file = Path(settings.questions)
        found = _cached(
            run,
            f"questions-{which}",
            of_model | {"questions": storage.digest_file(file)},
            lambda: measure_questions(model(), file, which),
            f"questions with two answers, {WORDS[which]}",
        )
        measured.scores += found.scores
        measured.said |= found.said
    if settings.benchmarks is not None:
        place, rows = settings.benchmarks, settings.benchmark_rows
        files = {} if place == "hub" else {f.name: storage.digest_file(f) for f in sorted(Path(place).glob("*.jsonl"))}
        measured.scores += _cached(
            run,
            f"benchmarks-{which}",
            of_model | {"benchmarks": files, "rows": rows},
            lambda: measure_benchmarks(model(), place, rows, which, run.show.update),
            f"benchmarks of {WORDS[which]}",
        ).scores
    key = of_model | {"sets": sets.measured()}
    measured.scores += extra_scores(run, which, key, model, model.copy, sets)
    measured.toxic = measured_toxicity(run, model, which, WORDS[which])
    for notice in model.notices:
        run.notice(notice)
    measured.scores += measured.toxic.scores if measured.toxic else []
    return measured


def measure_again(run: Run[Recipe], model: LazyModel, sets: Sets, wanted: Wanted) -> list[Score]:
    """Scores of an unlearned model without cached results: at least those that are wanted.

    Each standard measure is computed by itself; if another one is wanted, all others are.
    """
    settings = run.recipe.evaluation
    if all(measure in CORE for measure, _ in wanted):
        show = run.show.update
        return measure_core(model(), sets.material, settings, "unlearned", run.recipe.seed, show, wanted).scores
    silent = settings.model_copy(update={"judge_url": None})  # a judge's scores do not depend on the model alone
    recipe = run.recipe.model_copy(update={"evaluation": silent})
    return measure(Run(recipe, run.folder, run.show), model, sets, "unlearned").scores


def _core(run: Run[Recipe], model: LazyModel, sets: Sets, which: Which, of_model: dict[str, Any]) -> Measured:
    """Compute the standard measures: familiarity, recall, perplexity, general knowledge, secrets."""
    settings, material = run.recipe.evaluation, sets.material
    asked = [asdict(prompt) for prompt in (*material.completion, *material.probability)]
    if which == "base":
        asked += [asdict(prompt) for prompt in (*material.control_completion, *material.control_probability)]
    key = of_model | {
        "sets": sets.measured(),
        "settings": settings.model_dump(exclude=NOT_OF_CORE) | {"max_prompts": settings.max_prompts or MAX_PROMPTS},
        "prompts": storage.digest_value([len(material.completion), asked, asdict(material.terms)]),
        "secrets": [asdict(secret) for secret in material.secrets],
    }
    if material.targets:
        key["targets"] = storage.digest_value(
            [
                [each.name, list(each.secrets), [asdict(prompt) for prompt in each.completion]]
                for each in material.targets
            ]
        )

    return _cached(
        run,
        f"measured-{which}",
        key,
        lambda: measure_core(model(), material, settings, which, run.recipe.seed, run.show.update),
        f"measuring {WORDS[which]}",
    )


def _cached(run: Run[Recipe], name: str, key: dict[str, Any], make: Callable[[], Measured], doing: str) -> Measured:
    return Measured.of(run.cached_json(name, key, lambda: make().content(), "measured.json", doing))


def _grades(run: Run[Recipe], sets: Sets, which: Which, said: list[str]) -> Any:
    """The judge's scores of a model's completions."""
    settings, material = run.recipe.evaluation, sets.material
    url = settings.judge_url
    assert url is not None
    chats = judge_messages(", ".join(run.recipe.targets), material.completion, material.terms, said)
    key = {"url": url, "model": settings.judge_model, "chats": storage.digest_value(chats)}
    return run.cached_json(
        f"judged-{which}",
        key,
        lambda: judge(url, settings.judge_model, chats, os.environ.get(KEY), run.show.update),
        "grades.json",
        f"asking the judge about {WORDS[which]}",
    )
