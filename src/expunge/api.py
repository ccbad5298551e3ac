"""The functions of the public surface, as the command line has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expunge.core.progress import Silent
from expunge.errors import RecipeError, RunError
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.language.recipe import make_recipe
from expunge.kinds.recipe_file import AnyRecipe, read_recipe
from expunge.runs.folder import RunFolder


def forget(
    target: str, *, model: str = "smollm2-135m", out: str | Path, show: Silent | None = None, **options: Any
) -> RunFolder:
    """Make a model forget a topic, text or data set.

    Args:
        target: a path, a Hugging Face data set id, or a topic in words.
        model: a starter model's name, a folder, or a Hugging Face id.
        out: the run folder to write, or to go on in.
        options: fields of the recipe; nested ones as mappings, or dotted in a dictionary:
            `forget("x", out="runs/x", **{"training.learning_rate": 1e-5})`.

    Returns:
        The run folder, with `model`, `scores.json` and `report.html` in it.
    """
    return run(make_recipe({"model": model, "forget": target}, options), out, show)


def run(recipe: AnyRecipe | str | Path, out: str | Path, show: Silent | None = None) -> RunFolder:
    """Run a recipe (or a recipe file), or go on with it where it stopped."""
    made = read_recipe(Path(recipe)) if isinstance(recipe, str | Path) else recipe
    if isinstance(made, ImageRecipe):
        from expunge.kinds.classifier.pipeline import run as run_images

        return run_images(made, out, show)
    if isinstance(made, GeneratorRecipe):
        from expunge.kinds.generator.pipeline import run as run_generator

        return run_generator(made, out, show)
    from expunge.kinds.language.pipeline import run as run_language

    return run_language(made, out, show)


def evaluate(
    target: str | Path,
    *,
    recipe: str | Path | None = None,
    benchmarks: str | None = None,
    prompts: str | None = None,
    ordinary_text: str | None = None,
    toxicity_prompts: str | None = None,
    toxicity_groups: str | None = None,
    scorer: str | None = None,
    show: Silent | None = None,
) -> list[Any]:
    """Measure a run again, with more (benchmarks, prompts), or any model as a recipe says; the scores.

    Args:
        target: a run folder; or a model, and then `recipe` is the `recipe.yaml` of a run folder. A model without a
            recipe is measured on toxicity prompts alone.
        benchmarks, prompts, ordinary_text: what else to measure on; as in the recipe's `evaluation`.
        toxicity_prompts, toxicity_groups, scorer: `prompts`, `groups` and `scorer` of the recipe's `toxicity`.
    """
    from expunge.kinds.language.evaluation import More, evaluate_model, evaluate_run, evaluate_toxicity

    more = More(
        benchmarks=benchmarks,
        prompts=prompts,
        ordinary_text=ordinary_text,
        toxicity_prompts=toxicity_prompts,
        toxicity_groups=toxicity_groups,
        scorer=scorer,
    )
    alone = {"toxicity_prompts", "toxicity_groups"} & set(more.given())
    if recipe is None and alone and not RunFolder(target).recipe.is_file():
        if others := [name for name in more.given() if name not in (*alone, "scorer")]:
            raise RecipeError(
                f"{others[0]} is measured on the sets of a run, and {target} is no run folder",
                allowed="for a model alone: toxicity prompts, groups and a scorer",
                next_step="give --recipe runs/NAME/recipe.yaml too",
            )
        return evaluate_toxicity(str(target), more, show)
    path = load_run(target).recipe if recipe is None else Path(recipe)
    made = read_recipe(path)
    if isinstance(made, ImageRecipe | GeneratorRecipe):
        return _evaluate_images(target, made, recipe, more.given(), show)
    if recipe is not None:
        return evaluate_model(str(target), Path(recipe), more, show)
    return evaluate_run(load_run(target), more, show)


def _evaluate_images(
    target: str | Path,
    made: ImageRecipe | GeneratorRecipe,
    recipe: str | Path | None,
    more: Sequence[str],
    show: Silent | None,
) -> list[Any]:
    if more:
        kind = "an image classifier" if isinstance(made, ImageRecipe) else "an image-to-image generator"
        raise RecipeError(f"{more[0]} is for language models; this is a run on {kind}", allowed="no such option")
    if isinstance(made, GeneratorRecipe):
        from expunge.kinds.generator.evaluation import evaluate_generator, evaluate_generator_run

        if recipe is not None:
            return evaluate_generator(str(target), made, RunFolder(Path(recipe).parent), show)
        return evaluate_generator_run(made, load_run(target), show)
    from expunge.kinds.classifier.evaluation import evaluate_classifier, evaluate_images_run

    if recipe is not None:
        return evaluate_classifier(str(target), made, RunFolder(Path(recipe).parent), show)
    return evaluate_images_run(made, load_run(target), show)


def compare(folders: Sequence[str | Path], out: Path | None = None) -> str:
    """Scores of several runs, or of several contests, side by side, with intervals; as text, and as HTML at `out`."""
    from expunge.report.compare import compare_runs
    from expunge.suites.challenge.compare import compare_contests
    from expunge.suites.challenge.report import is_contest

    runs = [load_run(folder) for folder in folders]
    if out is not None:
        _refuse_overwriting(out)
    if any(is_contest(run.path) for run in runs):
        return str(compare_contests(runs, out))
    return str(compare_runs(runs, out))


def _refuse_overwriting(out: Path) -> None:
    """Raise where a comparison would be written over anything but an earlier one."""
    if out.is_dir():
        raise RunError(f"{out} is a folder", next_step=f"give a file: --out {out / 'comparison.html'}")
    if out.is_file() and b" beside each other</title>" not in out.read_bytes():
        raise RunError(f"{out} is there already, and no comparison", next_step="give a new file: --out comparison.html")


def load_run(folder: str | Path) -> RunFolder:
    """An existing run folder."""
    return RunFolder(folder).require()
