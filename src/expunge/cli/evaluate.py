"""`expunge evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json
from expunge.runs.more import More


def evaluate(
    target: str,
    /,
    *,
    recipe: Path | None = None,
    more: Annotated[More | None, Parameter(name="*")] = None,
    out: Path | None = None,
    printed: Printed = WORDS,
) -> int:
    """Measure a run again, with benchmarks or prompts added, or any model on a run's sets.

    For example:

        expunge evaluate runs/hp --benchmarks data/benchmarks

        expunge evaluate runs/hp --prompts completion_prompts.jsonl

        expunge evaluate some/model --recipe runs/hp/recipe.yaml --out scores.json

        expunge evaluate smollm2-135m --toxicity-prompts prompts.jsonl

    Parameters
    ----------
    target:
        A run folder; or a model (folder, id, starter), with --recipe or toxicity prompts.
    recipe:
        The recipe.yaml of the run whose sets a model is measured on.
    out:
        Of a model: write the scores there as JSON.
    """
    import json as json_

    from expunge.api import evaluate as evaluate_
    from expunge.cli.console import tell
    from expunge.core import storage
    from expunge.runs.folder import RunFolder

    scores = evaluate_(target, recipe=recipe, show=printed.show(), **(more or {}))
    if recipe is None and RunFolder(target).recipe.is_file():
        return tell(RunFolder(target), printed)
    rows = [score.row() for score in scores]
    if out is not None:
        storage.write_json(out, rows)
    if printed.json:
        print_json(rows)
    elif not printed.quiet:
        for row in rows:
            print(json_.dumps(row))
    return 0
