"""`expunge suite lume`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed
from expunge.suites.tofu.command import Command, carry_out
from expunge.suites.tofu.options import MODELS, TEACHING, Models, Teaching


def lume(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    task: int | None = None,
    documents: int | None = None,
    models: Annotated[Models, Parameter(name="*")] = MODELS,
    teaching: Annotated[Teaching, Parameter(name="*")] = TEACHING,
    printed: Printed = WORDS,
) -> int:
    """LUME: teach a model novels, persons and biographies, let methods forget half of them, and compare with an oracle.

    For example:

        expunge suite lume --data FOLDER --task 2 --documents 40 --methods npo,gradient_difference --out runs/lume

    It works like `expunge suite tofu`.

    Parameters
    ----------
    data:
        A folder with the files `forget` and `retain` (JSON lines, JSON, Parquet), or a Hugging Face dataset id.
    task:
        1 (synthetic novels), 2 (synthetic persons with their data) or 3 (real biographies); default: all.
    documents:
        Use this many documents of each side; default: all.
    """
    from expunge.suites.lume.reading import read_lume

    sets = read_lume(data, task, documents)
    command = Command(name="lume", data=data, models=models, teaching=teaching,
                      options=options, printed=printed)  # fmt: skip
    return carry_out(command, sets, {"task": task, "documents": documents})
