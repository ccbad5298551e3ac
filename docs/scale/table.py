"""Print the table of docs/scale.md: `python docs/scale/table.py`, in the folder of the repository. Takes minutes."""

from __future__ import annotations

from pathlib import Path

from expunge import api
from expunge.kinds.language.plan.options import typed
from expunge.kinds.language.plan.words import duration, gib

MODELS = ("llama-2-7b", "llama-3.1-8b", "qwen3-32b", "llama-3.1-70b")
DEVICES = ("rtx-4090", "a100-80gb", "h200")
TARGET = ["--forget", "Harry Potter", "--forget_kind", "topic"]
RECIPE = Path("whos_harry_potter")


def main() -> None:
    print("| model | parameters | device | peak as the recipe is | options with which it fits | peak then | time |")
    print("|---|---|---|---|---|---|---|")
    for name in MODELS:
        for device in DEVICES:
            plan = api.plan(RECIPE, ["--model", f"docs/scale/{name}", *TARGET], device=device)
            options = (
                "none: the least is" if plan.fits is None else f"`{typed(plan.fits)}`" if plan.fits else "as it is"
            )
            time = ""
            if plan.fits is not None:
                words = typed(plan.fits).split()
                changed = api.plan(RECIPE, ["--model", f"docs/scale/{name}", *TARGET, *words], device=device)
                time = duration(changed.seconds)
            row = (name, f"{plan.weights:,}", device, gib(plan.peak), options, gib(plan.fitting), time)
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
