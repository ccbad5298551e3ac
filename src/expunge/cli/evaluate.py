"""`expunge evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json
from expunge.runs.more import More, OfSuite


def evaluate(
    target: str,
    /,
    *,
    recipe: Path | None = None,
    more: Annotated[More | None, Parameter(name="*")] = None,
    asked: Annotated[OfSuite | None, Parameter(name="*")] = None,
    out: Path | None = None,
    printed: Printed = WORDS,
) -> int:
    """Measure a run again, with benchmarks or prompts added, or any model on a run's sets or by a suite's questions.

    For example:

        expunge evaluate runs/hp --benchmarks data/benchmarks

        expunge evaluate runs/hp --prompts completion_prompts.jsonl

        expunge evaluate some/model --recipe runs/hp/recipe.yaml --out scores.json

        expunge evaluate smollm2-135m --toxicity-prompts prompts.jsonl

        expunge evaluate some/model --suite tofu --data FOLDER --oracle its/oracle --out scores.json

    If interrupted in a suite's questions, the same command continues with the rest: answers so far are kept in a folder
    next to --out, or in runs, until all are done.

    Parameters
    ----------
    target:
        A run folder; or a model (folder, id, starter), with --recipe, --suite or toxicity prompts.
    recipe:
        The recipe.yaml of the run whose sets the model is measured on.
    out:
        For a model: write the scores to this file as JSON.
    """
    from expunge.api import evaluate as evaluate_
    from expunge.cli.console import print_scores, print_summary
    from expunge.core import storage
    from expunge.core.processes import is_first
    from expunge.runs.folder import RunFolder

    if asked:
        return _by_a_suite(target, recipe, more, asked, out, printed)
    scores = evaluate_(target, recipe=recipe, show=printed.show(), **(more or {}))
    if recipe is None and RunFolder(target).recipe.is_file():
        return print_summary(RunFolder(target), printed)
    if not is_first():  # of several processes the first one writes and prints
        return 0
    rows = [score.row() for score in scores]
    if out is not None:
        storage.write_json(out, rows)
    if printed.json:
        print_json(rows)
    elif not printed.quiet:
        print_scores(scores)
        if out is not None:
            print(f"Scores: {out}")
    return 0


def _by_a_suite(
    target: str, recipe: Path | None, more: More | None, asked: OfSuite, out: Path | None, printed: Printed
) -> int:
    import contextlib
    import shutil

    from expunge.core import storage
    from expunge.core.processes import is_first
    from expunge.errors import RecipeError
    from expunge.suites.tofu.evaluate import Questions, answers_folder, evaluate_model, evaluation_table

    others = [name for name, value in {"recipe": recipe, **(more or {})}.items() if value is not None]
    if others:
        raise RecipeError(
            f"--{others[0].replace('_', '-')} is measured on a run's sets, and --{next(iter(asked))} belongs to a suite's",
            next_step="evaluate twice, once with each",
        )
    if asked.get("suite") is None:
        raise RecipeError(
            f"--{next(iter(asked)).replace('_', '-')} belongs to a suite, and none is named",
            next_step="give --suite tofu, or another one",
        )
    questions = Questions(**{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]
    so_far = answers_folder(target, questions, out)
    found = evaluate_model(target, questions, printed.show(), so_far)
    if not is_first():
        return 0
    if out is not None:
        storage.write_json(out, found)
    if printed.json:
        print_json(found)
    elif not printed.quiet:
        print(evaluation_table(found))
        if out is not None:
            print(f"Figures: {out}")
    shutil.rmtree(so_far, ignore_errors=True)
    if out is None:
        with contextlib.suppress(OSError):  # other answers are there, too
            so_far.parent.rmdir()
    return 0
