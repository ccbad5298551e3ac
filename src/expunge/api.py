"""The public functions, the same as on the command line."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from expunge.core.progress import Silent
from expunge.core.score import Score
from expunge.errors import RecipeError, RunError
from expunge.kinds.language.audited_recipe import audited_recipe
from expunge.kinds.language.recipe import make_recipe
from expunge.models.folders import check_named
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import kinds_of, main_kind, read_recipe, recipe_class, task_of
from expunge.runs.more import More
from expunge.runs.recipe import BaseRecipe
from expunge.runs.registry import refuse_missing

if TYPE_CHECKING:
    from expunge.kinds.language.objects.own_loop import Prepared
    from expunge.kinds.language.objects.unlearning import Options, Unlearned
    from expunge.kinds.language.recipe import Training
    from expunge.report.verify import Finding


def forget(
    target: str | Sequence[str],
    *,
    model: str = "smollm2-135m",
    out: str | Path,
    show: Silent | None = None,
    log_with: Sequence[str] = (),
    **options: Any,
) -> RunFolder:
    """Make a model forget a topic, text or dataset.

    Args:
        target: a path, a Hugging Face dataset id, or a topic in words; or a list of several paths and ids, or topics.
        model: a starter model's name, a folder, or a Hugging Face id.
        out: the run folder to write, or to resume.
        log_with: trackers to send figures to, by Accelerate's names: tensorboard, wandb, mlflow, trackio.
        options: fields of the recipe; nested ones as mappings, or dotted in a dictionary:
            `forget("x", out="runs/x", **{"training.learning_rate": 1e-5})`.

    Returns:
        The run folder, with `model`, `scores.json` and `report.html` in it.
    """
    targets = target if isinstance(target, str) else list(target)
    return run(make_recipe({"model": model, "forget": targets}, options), out, show, log_with)


def run(
    recipe: BaseRecipe | str | Path, out: str | Path, show: Silent | None = None, log_with: Sequence[str] = ()
) -> RunFolder:
    """Run a recipe: an object, a file, or the name of one that comes with expunge; an unfinished run resumes.

    `log_with`: as for `forget`.
    """
    made = read_recipe(Path(recipe)) if isinstance(recipe, str | Path) else recipe
    refuse_missing(made, RunFolder(out))  # before imports that take seconds
    from expunge import spine

    return spine.run(made, out, show, log_with)


def unlearn(
    model: Any,
    tokenizer: Any = None,
    *,
    forget: Any,
    retain: Any = None,
    method: Any,
    training: Training | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    **options: Unpack[Options],
) -> Unlearned:
    """Make a language model in memory forget; it is changed in place.

    Args:
        model: a transformers model; or a peft model; then only the adapter is trained.
        tokenizer: its tokenizer.
        forget: a list (or a `datasets.Dataset`) of texts; of rows with `text`, `prompt` and `completion`, `question`
            and `answer`, or `messages`; or of token ids, as lists or as rows with `input_ids` and maybe `labels`. A
            row's `rewrite` is the wanted text in its place (DPO).
        retain: the retain set, in the same forms; without it the guard has nothing to watch, and many methods refuse.
        method: a method (`expunge.methods.NPO(beta=0.1)`), its name, or a mapping as in a recipe.
        training: how long and how fast: `expunge.Training(learning_rate=1e-5)`, or its fields as a mapping.
        out: a folder for checkpoints: a killed script resumes when it is run again. Without it nothing is saved.
        options: `seed`, `on_progress` (called with step, steps and figures), and the parts `data`, `reinforcement` and
            `anchors` of a recipe.

    Returns:
        The cost, the losses by step, and notices. Mode, dtype, device and `requires_grad` are unchanged.

    Raises:
        ExpungeError: unusable inputs, or a training that was stopped. Then the weights are those at the stop.
    """
    from expunge.kinds.language.objects.unlearning import unlearn_model

    return unlearn_model(model, tokenizer, forget, retain, method, training, out, options)


def prepare(
    model: Any,
    tokenizer: Any = None,
    *,
    forget: Any = None,
    retain: Any = None,
    method: Any = None,
    **options: Unpack[Options],
) -> Prepared:
    """Sets and signals for a training loop of your own: minimise `method.loss(step).total`.

    Args:
        forget: as for `unlearn`; without it and a method only `step` is available, for your own batches.
        retain: as for `unlearn`.
        method: as for `unlearn`.
        options: as for `unlearn`.

    Returns:
        An iterable: `for step in prepared.steps(batch_size=4, epochs=2)`; or a dataset with its `collate`, for a
        DataLoader or a Trainer, and `step(**batch)`.
    """
    from expunge.kinds.language.objects.own_loop import prepare_model

    return prepare_model(model, tokenizer, forget, retain, method, options)


def plan(
    recipe: BaseRecipe | str | Path,
    options: Sequence[str] = (),
    *,
    device: str | None = None,
    gpus: str | None = None,
    rate: float | None = None,
    fsdp: Literal["shard", "offload"] | None = None,
) -> Any:
    """Plan a run of a recipe; no weight is loaded.

    Args:
        recipe: a recipe, or a recipe file, overridden by `options` as for `expunge run`.
        device: a name such as a100-80gb; default: this machine.
        gpus: instead of it, number of cards and gigabytes each: 8x24.
        rate: floating-point operations a second that a device is known to reach.
        fsdp: shard a trained model over the cards ("shard"), or keep its parts in main memory ("offload").

    Returns:
        The plan: `peak` bytes, `seconds`, `stages`, `disk`, and the options with which it `fits`.

    Raises:
        RecipeError: there is no such device, or the recipe is not for a language model.
    """
    from expunge.kinds.language.plan.devices import find_device
    from expunge.runs.overrides import read_overrides
    from expunge.runs.plugins import reference
    from expunge.runs.registry import kind_of

    if isinstance(recipe, str | Path):
        recipe = read_recipe(Path(recipe), read_overrides(options, recipe_class(Path(recipe))))
    refuse_missing(recipe, weights=False)
    kind = kind_of(recipe)
    if kind.plan is None:
        raise RecipeError(
            f"what {kind.words} take is not known before a run",
            allowed="recipes for language models",
            next_step="run it: these models are small, and an interrupted run resumes",
        )
    return reference(kind.plan)(recipe, find_device(device, gpus, rate, fsdp))


def inspect(
    target: str | Sequence[str],
    *,
    model: str = "smollm2-135m",
    budget: str | float = 60,
    show: Silent | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Inspect what would be forgotten, and what a model knows of it, without training or writing anything.

    Args:
        target, model, options: as for `forget`.
        budget: seconds for measuring, or a text such as "2m"; what does not fit is left out and listed.

    Returns:
        The content of `expunge inspect --json`.
    """
    from expunge.runs.audit import seconds_of

    forget = target if isinstance(target, str) else list(target)
    recipe, seconds = make_recipe({"model": model, "forget": forget}, options), seconds_of(budget)
    refuse_missing(recipe)
    from expunge.kinds.language.inspection import inspect_target

    return inspect_target(recipe, seconds, show)


def evaluate(
    target: str | Path,
    *,
    recipe: str | Path | None = None,
    show: Silent | None = None,
    **more: Unpack[More],
) -> list[Score]:
    """Measure a run again, with more (benchmarks, prompts), or any model with a recipe; return the scores.

    Args:
        target: a run folder; or a model, and then `recipe` is the `recipe.yaml` of a run folder. A model without a
            recipe is measured on toxicity prompts alone.
        more: `benchmarks`, `prompts`, `ordinary_text`: what else to measure on, as in the recipe's `evaluation`;
            `toxicity_prompts`, `toxicity_groups`, `scorer`: `prompts`, `groups` and `scorer` of its `toxicity`.
    """
    for name in more.keys() - More.__annotations__.keys():
        raise TypeError(f"evaluate() got an unexpected keyword argument {name!r}")
    given = {name: str(value) for name, value in more.items() if value is not None}
    alone = {"toxicity_prompts", "toxicity_groups"} & set(given)
    if recipe is None and alone and not RunFolder(target).recipe.is_file():
        return _evaluate_toxicity(str(target), given, show)
    path = load_run(target).recipe if recipe is None else Path(recipe)
    made = read_recipe(path)
    made = main_kind(made).with_more(made, given)
    from expunge import spine  # takes seconds: missing files are reported before

    if recipe is not None:
        return spine.evaluate_model(str(target), made, path, show)
    return spine.evaluate_run(made, load_run(target), show)


def _evaluate_toxicity(model: str, given: dict[str, str], show: Silent | None) -> list[Score]:
    from expunge.kinds.language.more import OF_EVALUATION
    from expunge.kinds.language.toxicity.measured import evaluate_toxicity

    if others := [name for name in given if name in OF_EVALUATION]:
        raise RecipeError(
            f"{others[0]} is measured on the sets of a run, and {model} is not a run folder",
            allowed="for a model alone: toxicity prompts, groups and a scorer",
            next_step="give --recipe runs/NAME/recipe.yaml too",
        )
    return evaluate_toxicity(model, given, show)


def measure_again(run: str | Path, sample: int, show: Silent | None = None) -> list[Finding]:
    """Measure a random `sample` of a run's scores again from its saved model; compare with the stored ones."""
    from expunge import spine

    return spine.sampled_findings(load_run(run), sample, show)


def audit(
    target: str | Path,
    *,
    attacks: Sequence[str] = (),
    budget: str | float | None = None,
    control: str | Path | None = None,
    holdout: str | Path | None = None,
    out: str | Path | None = None,
    show: Silent | None = None,
    **data: Any,
) -> tuple[RunFolder, dict[str, Any]]:
    """Attack an unlearned model and a control; return (the folder, the content of its `audit/audit.json`).

    Args:
        target: a run folder; or a model, and then `base`, `forget` and `retain` name the model before and the sets.
        attacks: names of attacks to run; empty: all. budget: seconds, or a text such as "10m".
        control: a model that never saw the forget set. holdout: similar texts or pictures that no model saw.
        out: for a model, the folder to write; default: runs/audit-NAME.
        data: `base`, `forget`, `retain`, `ordinary` (text to measure perplexity on; default: the retain set), and
            fields of the recipe's part `audit` (`{"audit.facts": 50}`).
    """
    begun = time.monotonic()  # what is imported later takes seconds of the budget, too
    from expunge.runs.attack_names import refuse_misspelt
    from expunge.runs.audit import seconds_of

    given = {name: value for name, value in data.items() if value is not None}
    folder = RunFolder(target)
    of_run = folder.recipe.is_file() and "base" not in given
    if of_run and given:
        raise RecipeError(
            f"{target} is a run folder: its recipe names the data and the limits",
            seen=", ".join(given),
            allowed="none of them",
        )
    seconds = None if budget is None else seconds_of(budget)
    missing = [name for name in ("base", "forget", "retain") if name not in given]
    if missing and not of_run:
        raise RecipeError(
            f"{target} is not a run folder; to audit a model, its base model and the sets are needed",
            seen=f"without {', '.join(missing)}",
            next_step="give --base MODEL --forget PATH --retain PATH; or the folder that --out of a run named",
        )
    recipe: BaseRecipe = read_recipe(folder.recipe) if of_run else audited_recipe(given)
    refuse_misspelt(attacks, kinds_of(task_of(recipe)))
    if not of_run:
        folder = RunFolder(out or Path("runs") / f"audit-{Path(str(target)).name}", known_by="audit/settings.json")
        refuse_missing(recipe, folder)
        check_named(str(target))
    from expunge.auditing import Asked
    from expunge.auditing import audit as audit_

    asked = Asked(
        model=None if of_run else str(target),
        control=None if control is None else str(control),
        holdout=None if holdout is None else str(holdout),
        attacks=tuple(attacks),
        budget=seconds,
        begun=begun,
    )
    return folder, audit_(recipe, folder, asked, show)


def compare(folders: Sequence[str | Path], out: Path | None = None) -> str:
    """Compare runs, or suites of a kind, side by side, with intervals; as text, and as HTML at `out`.

    Suites of questions compare with files of `expunge evaluate --suite`, too, and OpenUnlearning's `TOFU_EVAL.json`.
    """
    return str(comparison(folders, out))


def comparison(folders: Sequence[str | Path], out: Path | None = None) -> Any:
    """The same as an object: its text is the table, and `row()` has it as JSON values."""
    from expunge.report.compare import compare_runs
    from expunge.runs.suite import comparer

    runs = [RunFolder(folder) for folder in folders]
    compared = comparer(runs)
    for each in runs:
        if compared is None or not each.path.is_file():
            each.require()
    if out is not None:
        _refuse_overwriting(out)
    return (compared or compare_runs)(runs, out)


def _refuse_overwriting(out: Path) -> None:
    """Raise if a comparison would overwrite anything but an earlier one, recognised by its heading."""
    if out.is_dir():
        raise RunError(f"{out} is a folder", next_step=f"give a file: --html {out / 'comparison.html'}")
    if out.is_file() and "Expunge · comparison</p>".encode() not in out.read_bytes():
        raise RunError(
            f"{out} already exists, and is not a comparison", next_step="give a new file: --html comparison.html"
        )


def load_run(folder: str | Path) -> RunFolder:
    """An existing run folder."""
    return RunFolder(folder).require()
