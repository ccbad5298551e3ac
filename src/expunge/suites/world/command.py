"""`expunge suite world`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json
from expunge.suites.tofu.command import TEACHING, Command, Teaching, carry_out
from expunge.suites.world.settings import WORLD, World


def world(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    of: Annotated[World, Parameter(name="*")] = WORLD,
    model: str = "smollm2-135m",
    methods: str = "all",
    seeds: int = 1,
    teaching: Annotated[Teaching, Parameter(name="*")] = TEACHING,
    write: Path | None = None,
    out: Path = Path("runs/world"),
    printed: Printed = WORDS,
) -> int:
    """A generated world: teach a model invented people and places, let methods forget some, and compare with an oracle.

    For example:

        expunge suite world --methods npo,gradient_difference --seeds 3 --out runs/world

        expunge suite world --subjects 120 --by relation --write data/world

    It needs no data, and is run as `expunge suite tofu` is. Each fact is asked for in several forms.

    Parameters
    ----------
    model:
        The model that is taught: a starter's name, a folder, or an id.
    methods:
        Names with commas between them, or all.
    seeds:
        Models of each method.
    write:
        Teach nothing; write the forget set, the retain set and held-out facts into this folder, for runs and audits.
    out:
        The suite's folder.
    """
    from expunge.suites.world.reading import read_world, write_world

    if write is not None:
        split = write_world(of, write)
        counts = {name: len(getattr(split, name)) for name in ("forget", "retain", "holdout")}
        if printed.json:
            print_json({"folder": str(write), **counts})
        elif not printed.quiet:
            print(", ".join(f"{write / f'{name}.jsonl'}: {count} facts" for name, count in counts.items()))
        return 0
    command = Command(name="world", data=None, model=model, methods=methods, seeds=seeds, teaching=teaching,
                      options=options, out=out, printed=printed)  # fmt: skip
    return carry_out(command, read_world(of), asdict(of))
