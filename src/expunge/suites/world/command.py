"""`expunge suite world`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json
from expunge.suites.tofu.command import Command, carry_out
from expunge.suites.tofu.options import MODELS, TEACHING, Models, Teaching
from expunge.suites.world.settings import WORLD, World


def world(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    of: Annotated[World, Parameter(name="*")] = WORLD,
    models: Annotated[Models, Parameter(name="*")] = MODELS,
    teaching: Annotated[Teaching, Parameter(name="*")] = TEACHING,
    write: Path | None = None,
    printed: Printed = WORDS,
) -> int:
    """A generated world: teach a model invented people and places, let methods forget some, and compare with an oracle.

    For example:

        expunge suite world --methods npo,gradient_difference --seeds 3 --out runs/world

        expunge suite world --subjects 120 --by relation --write data/world

    It needs no data, and is run as `expunge suite tofu` is. Each fact is asked in several forms.

    Parameters
    ----------
    write:
        Teach nothing; write the forget set, the retain set and held-out facts into this folder, for runs and audits.
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
    command = Command(name="world", data=None, models=models, teaching=teaching,
                      options=options, printed=printed)  # fmt: skip
    return carry_out(command, read_world(of), asdict(of))
