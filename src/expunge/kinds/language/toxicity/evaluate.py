"""Toxicity of any model, without a run."""

from __future__ import annotations

from collections.abc import Mapping

from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.core.score import Score
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.more import with_toxicity
from expunge.kinds.language.recipe import Toxicity
from expunge.kinds.language.toxicity.measures import continue_all, score_all, toxicity_prompts, toxicity_scores
from expunge.kinds.language.toxicity.scorer import load_scorer
from expunge.models.source import find_model
from expunge.train.precision import Precision


def evaluate_toxicity(model: str, given: Mapping[str, str], show: Silent | None = None) -> list[Score]:
    """Toxicity of any model, with a recipe's default settings; nothing is cached.

    Returns:
        The scores; the model is called `unlearned` in them, as with `evaluate_model`.
    """
    show = show or Silent()
    settings = with_toxicity(Toxicity(), given)
    try:
        with interruptible("run the same command again: it starts again"):
            prompts = toxicity_prompts(settings)
            scorer = load_scorer(settings.scorer)
            task = LazyModel(find_model(model), Precision(), as_stored=True)()
            show.stage("continuations")
            rows = continue_all(task, prompts, settings, 0, show.update)
            for note in task.notices:
                show.say(note)
            for row, values in zip(rows, score_all(rows, scorer), strict=True):
                row["values"] = values
            return toxicity_scores(rows, settings, scorer, "unlearned")
    finally:
        show.close()
