"""`expunge sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed


def sweep(
    recipe: Path,
    /,
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    over: Annotated[list[str] | None, Parameter(negative_iterable=())] = None,
    trials: int = 30,
    jobs: int | None = None,
    ray: Annotated[bool, Parameter(negative=())] = False,
    out: Path | None = None,
    printed: Printed = WORDS,
) -> int:
    """Try settings of a recipe in many runs, and find those that forget most with least damage.

    For example:

        expunge sweep recipe.yaml --over method.beta=0.05..0.5 --trials 30

        expunge sweep npo --forget FILE --over training.learning_rate=1e-6..1e-4 --over training.max_steps=100,200

        expunge sweep recipe.yaml --over method=npo,simnpo --over method.beta=log:0.05..0.5 --jobs 4

    Optuna chooses the settings from the results of earlier trials; the seed of the recipe determines its draws. Each
    trial is an ordinary run in a folder of its own. The same command resumes, and more --trials may be added later. The
    axes are those of `expunge compare`: what is left of the target by the measure that fell least, and the loss of the
    score of utility that suffered most. Fields of the recipe that all trials share can be given as --FIELD VALUE.

    Parameters
    ----------
    recipe:
        A YAML file of recipe fields, or the name of a recipe that comes with expunge (`expunge recipes`).
    over:
        FIELD=VALUES, a field of the recipe and the values to try: LOW..HIGH, drawn evenly in the logarithm if the
        ends are more than ten times apart, or as log:LOW..HIGH; or values separated by commas. May be repeated.
    trials:
        Number of trials in all. If there are no more combinations than that, each is tried once.
    jobs:
        Trials run at the same time, chosen together, each in a process with one thread. Default: 1, with all threads;
        on Ray 4.
    ray:
        Use the Ray cluster that RAY_ADDRESS names, or a local one. Its machines must share the folder.
    out:
        The sweep's folder; default: runs/sweep-NAME, with the recipe's name.
    """
    from expunge.core.printed import print_json
    from expunge.runs.kinds import read_recipe, recipe_class
    from expunge.runs.overrides import read_overrides
    from expunge.runs.recipe import read_fields
    from expunge.runs.registry import refuse_missing
    from expunge.sweep.axes import read_space

    at = out or Path("runs") / f"sweep-{recipe.stem}"
    kind = recipe_class(recipe)
    fixed = read_overrides(options, kind)
    refuse_missing(read_recipe(recipe, fixed))
    space = read_space(kind, read_fields(recipe), fixed, over or (), str(recipe))
    from expunge.sweep.report import sweep_table
    from expunge.sweep.run import run_sweep

    found = run_sweep(space, at, trials=trials, jobs=jobs, ray=ray, show=printed.show())
    if printed.json:
        print_json(found)
    elif not printed.quiet:
        print(sweep_table(found))
        for name, path in found["best"].items():
            print(f"Recipe of {name}: {at / path}")
        print(f"Report: {at / 'report.html'}")
    return 0 if found["front"] else 1
