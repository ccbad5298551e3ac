"""The functions of the public surface, as the command line has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from expunge.core.progress import Silent
from expunge.core.score import Score
from expunge.errors import RecipeError, RunError
from expunge.kinds.language.recipe import make_recipe
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import main_kind, read_recipe
from expunge.runs.more import More
from expunge.runs.recipe import BaseRecipe


def forget(
    target: str, *, model: str = "smollm2-135m", out: str | Path, show: Silent | None = None, **options: Any
) -> RunFolder:
    """Make a model forget a topic, text or dataset.

    Args:
        target: a path, a Hugging Face dataset id, or a topic in words.
        model: a starter model's name, a folder, or a Hugging Face id.
        out: the run folder to write, or to resume.
        options: fields of the recipe; nested ones as mappings, or dotted in a dictionary:
            `forget("x", out="runs/x", **{"training.learning_rate": 1e-5})`.

    Returns:
        The run folder, with `model`, `scores.json` and `report.html` in it.
    """
    return run(make_recipe({"model": model, "forget": target}, options), out, show)


def run(recipe: BaseRecipe | str | Path, out: str | Path, show: Silent | None = None) -> RunFolder:
    """Run a recipe (or a recipe file); an unfinished run resumes."""
    from expunge import spine

    made = read_recipe(Path(recipe)) if isinstance(recipe, str | Path) else recipe
    return spine.run(made, out, show)


def evaluate(
    target: str | Path,
    *,
    recipe: str | Path | None = None,
    show: Silent | None = None,
    **more: Unpack[More],
) -> list[Score]:
    """Measure a run again, with more (benchmarks, prompts), or any model as a recipe says; the scores.

    Args:
        target: a run folder; or a model, and then `recipe` is the `recipe.yaml` of a run folder. A model without a
            recipe is measured on toxicity prompts alone.
        more: `benchmarks`, `prompts`, `ordinary_text`: what else to measure on, as in the recipe's `evaluation`;
            `toxicity_prompts`, `toxicity_groups`, `scorer`: `prompts`, `groups` and `scorer` of its `toxicity`.
    """
    from expunge import spine

    for name in more.keys() - More.__annotations__.keys():
        raise TypeError(f"evaluate() got an unexpected keyword argument {name!r}")
    given = {name: str(value) for name, value in more.items() if value is not None}
    alone = {"toxicity_prompts", "toxicity_groups"} & set(given)
    if recipe is None and alone and not RunFolder(target).recipe.is_file():
        return _evaluate_toxicity(str(target), given, show)
    path = load_run(target).recipe if recipe is None else Path(recipe)
    made = read_recipe(path)
    made = main_kind(made).with_more(made, given)
    if recipe is not None:
        return spine.evaluate_model(str(target), made, path, show)
    return spine.evaluate_run(made, load_run(target), show)


def _evaluate_toxicity(model: str, given: dict[str, str], show: Silent | None) -> list[Score]:
    from expunge.kinds.language.more import OF_EVALUATION
    from expunge.kinds.language.toxicity.measured import evaluate_toxicity

    if others := [name for name in given if name in OF_EVALUATION]:
        raise RecipeError(
            f"{others[0]} is measured on the sets of a run, and {model} is no run folder",
            allowed="for a model alone: toxicity prompts, groups and a scorer",
            next_step="give --recipe runs/NAME/recipe.yaml too",
        )
    return evaluate_toxicity(model, given, show)


def compare(folders: Sequence[str | Path], out: Path | None = None) -> str:
    """Scores of several runs, or of several contests, side by side, with intervals; as text, and as HTML at `out`."""
    from expunge.report.compare import compare_runs
    from expunge.runs.suite import comparer

    runs = [load_run(folder) for folder in folders]
    if out is not None:
        _refuse_overwriting(out)
    return str((comparer(runs) or compare_runs)(runs, out))


def _refuse_overwriting(out: Path) -> None:
    """Raise where a comparison would be written over anything but an earlier one, which says at its head what it is."""
    if out.is_dir():
        raise RunError(f"{out} is a folder", next_step=f"give a file: --out {out / 'comparison.html'}")
    if out.is_file() and "Expunge · comparison</p>".encode() not in out.read_bytes():
        raise RunError(f"{out} is there already, and no comparison", next_step="give a new file: --out comparison.html")


def load_run(folder: str | Path) -> RunFolder:
    """An existing run folder."""
    return RunFolder(folder).require()
