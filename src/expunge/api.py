"""The functions of the public surface, as the command line has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expunge.core.progress import Silent
from expunge.errors import RecipeError, RunError
from expunge.kinds.language.recipe import make_recipe
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import main_kind, read_recipe, recipe_class
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


def plan(
    recipe: BaseRecipe | str | Path,
    options: Sequence[str] = (),
    *,
    device: str | None = None,
    gpus: str | None = None,
    rate: float | None = None,
) -> Any:
    """What a run of a recipe will take, before it runs; no weight is loaded.

    Args:
        recipe: a recipe, or a recipe file, over which `options` are laid as `expunge run` takes them.
        device: a name such as a100-80gb; default: this machine.
        gpus: in place of it, how many cards and gigabytes each: 8x24.
        rate: floating-point operations a second that a device is known to reach.

    Returns:
        The plan: `peak` bytes, `seconds`, `stages`, `disk`, and with which options it `fits`.

    Raises:
        RecipeError: there is no such device, or the recipe is not for a language model.
    """
    from expunge.kinds.language.plan.devices import find_device
    from expunge.runs.overrides import read_overrides
    from expunge.runs.plugins import reference
    from expunge.runs.registry import kind_of

    if isinstance(recipe, str | Path):
        recipe = read_recipe(Path(recipe), read_overrides(options, recipe_class(Path(recipe))))
    kind = kind_of(recipe)
    if kind.plan is None:
        raise RecipeError(
            f"what {kind.words} take is not known before a run",
            allowed="recipes for language models",
            next_step="run it: these models are small, and an interrupted run resumes",
        )
    return reference(kind.plan)(recipe, find_device(device, gpus, rate))


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
    from expunge import spine

    options = {
        "benchmarks": benchmarks,
        "prompts": prompts,
        "ordinary_text": ordinary_text,
        "toxicity_prompts": toxicity_prompts,
        "toxicity_groups": toxicity_groups,
        "scorer": scorer,
    }
    given = {name: value for name, value in options.items() if value is not None}
    alone = {"toxicity_prompts", "toxicity_groups"} & set(given)
    if recipe is None and alone and not RunFolder(target).recipe.is_file():
        return _evaluate_toxicity(str(target), given, show)
    path = load_run(target).recipe if recipe is None else Path(recipe)
    made = read_recipe(path)
    made = main_kind(made).with_more(made, given)
    if recipe is not None:
        return spine.evaluate_model(str(target), made, path, show)
    return spine.evaluate_run(made, load_run(target), show)


def _evaluate_toxicity(model: str, given: dict[str, str], show: Silent | None) -> list[Any]:
    from expunge.kinds.language.more import OF_EVALUATION
    from expunge.kinds.language.toxicity.evaluate import evaluate_toxicity

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
    """Raise where a comparison would be written over anything but an earlier one."""
    if out.is_dir():
        raise RunError(f"{out} is a folder", next_step=f"give a file: --out {out / 'comparison.html'}")
    if out.is_file() and b" beside each other</title>" not in out.read_bytes():
        raise RunError(f"{out} is there already, and no comparison", next_step="give a new file: --out comparison.html")


def load_run(folder: str | Path) -> RunFolder:
    """An existing run folder."""
    return RunFolder(folder).require()
