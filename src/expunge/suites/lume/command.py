"""`expunge suite lume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed
from expunge.suites.tofu.command import TEACHING, Command, Teaching, carry_out


def lume(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    model: str = "smollm2-135m",
    task: int | None = None,
    documents: int | None = None,
    methods: str = "all",
    seeds: int = 1,
    teaching: Annotated[Teaching, Parameter(name="*")] = TEACHING,
    out: Path = Path("runs/lume"),
    printed: Printed = WORDS,
) -> int:
    """LUME: teach a model novels, persons and biographies, let methods forget half of them, and compare with an oracle.

    For example:

        expunge suite lume --data FOLDER --task 2 --documents 40 --methods npo,gradient_difference --out runs/lume

    It is run as `expunge suite tofu` is.

    Parameters
    ----------
    data:
        A folder with the files `forget` and `retain` (JSON lines, JSON, Parquet), or a Hugging Face dataset id.
    model:
        The model that is taught: a starter's name, a folder, or an id.
    task:
        1 (synthetic novels), 2 (synthetic persons with their data) or 3 (real biographies); if not given, all.
    documents:
        Use so many documents of each side; if not given, all.
    methods:
        Names with commas between them, or all.
    seeds:
        Models of each method.
    out:
        The suite's folder.
    """
    from expunge.suites.lume.reading import read_lume

    sets = read_lume(data, task, documents)
    command = Command(name="lume", data=data, model=model, methods=methods, seeds=seeds, teaching=teaching,
                      options=options, out=out, printed=printed)  # fmt: skip
    return carry_out(command, sets, {"task": task, "documents": documents})
