"""`expunge suite knowundo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed
from expunge.suites.tofu.command import TEACHING, Command, Teaching, carry_out


def knowundo(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    model: str = "smollm2-135m",
    methods: str = "all",
    seeds: int = 1,
    teaching: Annotated[Teaching, Parameter(name="*")] = TEACHING,
    out: Path = Path("runs/knowundo"),
    printed: Printed = WORDS,
) -> int:
    """KnowUnDo: teach a model invented persons, let methods forget what is private of them, and compare with an oracle.

    For example:

        expunge suite knowundo --data FOLDER --methods npo,gradient_difference --out runs/knowundo

    It is run as `expunge suite tofu` is.

    Parameters
    ----------
    data:
        A folder with `unlearn_train`, `unlearn_val`, `retention_train` and `retention_val` (JSON lines, JSON, Parquet).
    model:
        The model that is taught: a starter's name, a folder, or an id.
    methods:
        Names with commas between them, or all.
    seeds:
        Models of each method.
    out:
        The suite's folder.
    """
    from expunge.suites.knowundo.reading import read_knowundo

    command = Command(name="knowundo", data=data, model=model, methods=methods, seeds=seeds, teaching=teaching,
                      options=options, out=out, printed=printed)  # fmt: skip
    return carry_out(command, read_knowundo(data), {})
