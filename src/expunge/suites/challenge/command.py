"""`expunge suite challenge`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json
from expunge.core.words import counted


@dataclass(frozen=True)
class Making:
    """Which models are made, and where."""

    models: int = 32
    "Models of each kind: unlearned by each method, retrained, and retrained for the ceiling."
    seed: int = 0
    "Seed of the split, and with it the forget set; and of every model."
    workers: int | None = None
    "Processes; default: one for each core, and a single one on a GPU."
    ray: bool = False
    "Use the Ray cluster that RAY_ADDRESS names, or a local one."


def challenge(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    forget: str = "random:0.02",
    methods: str = "all",
    pictures: int | None = 1200,
    making: Annotated[Making, Parameter(name="*")] = Making(),
    out: Path = Path("runs/challenge"),
    printed: Printed = WORDS,
) -> int:
    """The NeurIPS 2023 unlearning contest, on any pictures.

    For example:

        expunge suite challenge --data FACES --methods all --models 32 --out runs/challenge

        expunge suite challenge --data FACES --methods kookmin,scrub,fine_tune --forget "random:0.02" --models 16

    Models are made in processes of this machine, one per core, or on a Ray cluster; finished models are saved, and the
    same command resumes. More models or methods may be added later. Fields of the recipe can be given as --PART.FIELD
    VALUE.

    Parameters
    ----------
    data:
        Pictures: a folder of class folders, a CSV, a sheet layout, an .npz, or a Hugging Face dataset id.
    forget:
        What to forget: a query, a file of ids, class:NAME, identity:COLUMN:COUNT or random:SHARE.
    methods:
        Names separated by commas, or all.
    pictures:
        Use only this many pictures of the data, from the start.
    out:
        The contest's folder.
    """
    from expunge.kinds.classifier.recipe import ImageRecipe
    from expunge.runs.overrides import read_overrides
    from expunge.runs.recipe import make
    from expunge.suites.challenge.models import contest_methods
    from expunge.suites.challenge.run import run_contest

    content = {
        "data": data,
        "forget": forget,
        "seed": making.seed,
        "images": {"limit": pictures, "only_train": True, "size": 32},
    }
    recipe = make(ImageRecipe, content, read_overrides(options, ImageRecipe), where="options")
    figures = run_contest(
        recipe,
        out,
        methods=contest_methods(methods),
        models=making.models,
        workers=making.workers,
        ray=making.ray,
        show=printed.show(),
    )
    if printed.json:
        print_json(figures)
    if printed.json or printed.quiet:
        return 0
    print_contest(figures)
    print(f"Figures: {out / 'contest.json'}")
    print(f"Report:  {out / 'report.html'}")
    return 0


def print_contest(figures: dict[str, Any]) -> None:
    """The table of a contest."""
    from rich.console import Console
    from rich.table import Table

    def shown(estimate: dict[str, float | None] | None, digits: int = 3) -> str:
        if estimate is None or estimate["value"] is None:
            return ""
        if estimate["low"] is None or estimate["high"] is None:
            return f"{estimate['value']:.{digits}f}"
        return "{value:.{d}f} [{low:.{d}f}, {high:.{d}f}]".format(d=digits, **estimate)

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    table = Table(box=None, pad_edge=False)
    for header in ("method", "score", "F", "F / ceiling", "retain ratio", "test ratio", "compute", "U-LiRA AUC"):
        table.add_column(header, no_wrap=True)
    for row in [figures["ceiling"], *figures["methods"]]:
        table.add_row(
            row["name"],
            "over budget" if row["over_budget"] else f"{row['score']['value']:.3f}",
            shown(row["forgetting"]),
            shown(row["share_of_ceiling"], 2),
            shown(row["retain_ratio"]),
            shown(row["test_ratio"]),
            f"{row['compute_share']:.1%}",
            shown(row["ulira"]["auc"]) if "ulira" in row else "",
        )
    for row in figures["diverged"]:
        table.add_row(row["name"], "diverged", f"{counted(row['models'], 'model')}: {row['reason']}")
    console.print(table)
    console.print(
        f"\n{counted(figures['models'], 'model')} of each kind, {counted(figures['examples'], 'forgotten picture')}. "
        "95 % intervals."
    )
