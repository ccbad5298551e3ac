"""`expunge suite knowundo`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed
from expunge.suites.tofu.command import Command, carry_out
from expunge.suites.tofu.options import MODELS, TEACHING, Models, Teaching


def knowundo(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    taught_rows: int | None = None,
    models: Annotated[Models, Parameter(name="*")] = MODELS,
    teaching: Annotated[Teaching, Parameter(name="*")] = TEACHING,
    printed: Printed = WORDS,
) -> int:
    """KnowUnDo: teach a model invented persons, let methods forget their private data, and compare with an oracle.

    For example:

        expunge suite knowundo --data FOLDER --methods npo,gradient_difference --out runs/knowundo

        expunge suite knowundo --data FOLDER --taught-rows 200 --methods npo --out runs/knowundo-small

    It works like `expunge suite tofu`.

    Parameters
    ----------
    data:
        A folder with `unlearn_train`, `unlearn_val`, `retention_train` and `retention_val` (JSON lines, JSON, Parquet).
    taught_rows:
        Teach about this many rows in all, the first of each file, in the files' proportion; default: all 1,059.
    """
    from expunge.suites.knowundo.reading import read_knowundo

    command = Command(name="knowundo", data=data, models=models, teaching=teaching,
                      options=options, printed=printed)  # fmt: skip
    asked_for = {} if taught_rows is None else {"taught_rows": taught_rows}
    return carry_out(command, read_knowundo(data, taught_rows), asked_for)
