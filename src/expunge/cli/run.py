"""`expunge run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed


def run(
    recipe: Path,
    /,
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    out: Path | None = None,
    log_with: Annotated[list[str] | None, Parameter(negative_iterable=())] = None,
    printed: Printed = WORDS,
    no_excerpts: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Run a recipe file, or resume it where it stopped.

    For example:

        expunge run whos_harry_potter --model PATH --forget PATH --retain PATH

        expunge run whos_harry_potter --forget book.txt --method.alpha 3 --out runs/book

    Every field of the recipe can be given as --FIELD VALUE or --PART.FIELD VALUE, and wins over the file: --model,
    --forget and --retain, --data for pictures or statements, --method NAME and --method.FIELD (`expunge methods NAME`
    lists them), --training.learning_rate, --training.num_train_epochs, --evaluation.benchmarks, --seed. All of them,
    with what they mean: docs/recipe.md (language models), docs/image_recipe.md, docs/generator_recipe.md.

    Parameters
    ----------
    recipe:
        A YAML file of recipe fields, or the name of a recipe that comes with expunge (`expunge recipes`).
    out:
        The run folder to write; default: runs/NAME, with the recipe's name.
    log_with:
        An experiment tracker that figures are sent to (tensorboard, wandb, mlflow, trackio, ...); may be repeated.
    no_excerpts:
        Quote nothing of the forget set, and no answers of the models about it, in report, record, card and log; of
        pictures, show none, and store none in the run folder.
    """
    from expunge.api import run as run_
    from expunge.cli.console import print_summary
    from expunge.runs.kinds import read_recipe, recipe_class
    from expunge.runs.overrides import read_overrides

    fields = read_overrides(options, recipe_class(recipe))
    loaded = read_recipe(recipe, fields | {"excerpts": False} if no_excerpts else fields)
    return print_summary(run_(loaded, out or Path("runs") / recipe.stem, printed.show(), log_with or ()), printed)
