"""`expunge evaluate`."""

from __future__ import annotations

from pathlib import Path


def evaluate(
    target: str,
    /,
    *,
    recipe: Path | None = None,
    benchmarks: str | None = None,
    prompts: str | None = None,
    ordinary_text: str | None = None,
    out: Path | None = None,
) -> int:
    """Measure a run again, with benchmarks or prompts added, or any model on a run's sets.

    For example:

        expunge evaluate runs/hp --benchmarks data/benchmarks

        expunge evaluate runs/hp --prompts completion_prompts.jsonl

        expunge evaluate some/model --recipe runs/hp/recipe.yaml --out scores.json

    Parameters
    ----------
    target:
        A run folder; or a model (folder, id, starter), with --recipe.
    recipe:
        The recipe.yaml of the run whose sets a model is measured on.
    benchmarks:
        A folder of multiple-choice files (arc_easy.jsonl, ...), or hub.
    prompts:
        Completion prompts: JSONL with `prompt` and, if wanted, `references`.
    ordinary_text:
        Ordinary text for perplexity, in place of text sampled from the base model.
    out:
        With --recipe: write the scores there as JSON.
    """
    import json

    from expunge import storage
    from expunge.api import evaluate as evaluate_
    from expunge.cli.console import tell
    from expunge.progress import Live
    from expunge.run_folder import RunFolder

    scores = evaluate_(
        target, recipe=recipe, benchmarks=benchmarks, prompts=prompts, ordinary_text=ordinary_text, show=Live()
    )
    if recipe is None:
        return tell(RunFolder(target))
    rows = [score.row() for score in scores]
    if out is not None:
        storage.write_json(out, rows)
    for row in rows:
        print(json.dumps(row))
    return 0
