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
    toxicity_prompts: str | None = None,
    toxicity_groups: str | None = None,
    scorer: str | None = None,
    out: Path | None = None,
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
    benchmarks:
        A folder of multiple-choice files (arc_easy.jsonl, ...), or hub.
    prompts:
        Completion prompts: JSONL with `prompt` and, if wanted, `references`.
    ordinary_text:
        Ordinary text for perplexity, in place of text sampled from the base model.
    toxicity_prompts:
        Prompts whose continuations are scored: JSONL as RealToxicityPrompts, ToxiGen, or with `prompt`.
    toxicity_groups:
        The same, with a `group` of people in every line.
    scorer:
        What scores them: jigsaw-bilstm, the folder or id of a text classifier, or module:function.
    out:
        Of a model: write the scores there as JSON.
    """
    import json

    from expunge.api import evaluate as evaluate_
    from expunge.cli.console import tell
    from expunge.core import storage
    from expunge.core.progress import Live
    from expunge.runs.folder import RunFolder

    scores = evaluate_(
        target,
        recipe=recipe,
        benchmarks=benchmarks,
        prompts=prompts,
        ordinary_text=ordinary_text,
        toxicity_prompts=toxicity_prompts,
        toxicity_groups=toxicity_groups,
        scorer=scorer,
        show=Live(),
    )
    if recipe is None and RunFolder(target).recipe.is_file():
        return tell(RunFolder(target))
    rows = [score.row() for score in scores]
    if out is not None:
        storage.write_json(out, rows)
    for row in rows:
        print(json.dumps(row))
    return 0
