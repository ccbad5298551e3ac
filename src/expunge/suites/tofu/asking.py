"""Ask a model every question of a suite, split by split; answers are cached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.question_answers import Answered, answer_questions, digest_asked
from expunge.models.source import ModelSource, find_model
from expunge.runs.context import Run
from expunge.suites.tofu.sets import QuestionSets
from expunge.train.precision import Precision

Answers = dict[str, list[Answered]]
"split -> what a model answered to its rows"


@dataclass(frozen=True, slots=True)
class Origin:
    """A model to ask, or to begin methods from.

    Attributes:
        key: key of its results, wherever the model is.
        model: its location: a starter's name, a folder, or an id.
        source: the located model; None: it is located when asked.
    """

    key: Any
    model: str
    source: ModelSource | None = None


def ask(run: Run[Any], who: str, origin: Origin, sets: QuestionSets, new_tokens: int) -> Answers:
    """A model's answers to every split; each is a separate result, cached under the model's key in the run's folder.

    Args:
        who: name of the results.
        new_tokens: tokens of an answer, at most, unless the question's form sets it.

    Raises:
        DataError: a question longer than the model's positions. DivergedError: likelihoods that are not numbers.
    """
    lazy: LazyModel | None = None

    def asked(split: str) -> list[dict[str, Any]]:
        nonlocal lazy
        lazy = lazy or LazyModel(origin.source or find_model(origin.model), Precision("auto"), as_stored=True)
        found = answer_questions(
            lazy(), sets.measured[split], new_tokens=new_tokens, generate=split != "holdout", show=run.show.update
        )
        return [each.row() for each in found]

    answers = {}
    for split in sets.measured:
        found = run.cached_json(
            f"answers-{who}-{split}",
            _made_from(origin, sets, split, new_tokens),
            lambda split=split: asked(split),  # type: ignore[misc]
            "answers.json",
            f"asking {who}: {split}",
        )
        answers[split] = [Answered.of(row) for row in found]
    if lazy is not None:
        for notice in lazy.notices:
            run.notice(notice)
        lazy.release()
    return answers


def is_asked(run: Run[Any], who: str, origin: Origin, sets: QuestionSets, new_tokens: int) -> bool:
    """Whether `ask` would find every answer in the run's folder."""
    paths = [
        run.cache_path(f"answers-{who}-{split}", _made_from(origin, sets, split, new_tokens)) for split in sets.measured
    ]
    return all((path / "stage.json").is_file() for path in paths)


def _made_from(origin: Origin, sets: QuestionSets, split: str, new_tokens: int) -> dict[str, Any]:
    return {"model": origin.key, "rows": digest_asked(sets.measured[split]), "new_tokens": new_tokens}
