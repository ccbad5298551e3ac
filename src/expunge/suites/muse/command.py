"""`expunge suite muse`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed
from expunge.suites.tofu.command import TEACHING, Command, Teaching, carry_out


def muse(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    model: str = "smollm2-135m",
    series: str = "",
    texts: int | None = None,
    methods: str = "all",
    seeds: int = 1,
    teaching: Annotated[Teaching, Parameter(name="*")] = TEACHING,
    out: Path = Path("runs/muse"),
    printed: Printed = WORDS,
) -> int:
    """MUSE: teach a model news or books, let methods forget some of the texts, and compare with one that never saw these.

    For example:

        expunge suite muse --data FOLDER --methods npo,gradient_difference --out runs/muse

        expunge suite muse --data FOLDER --series scal,sust --methods npo,simnpo --out runs/muse-series

    It is run as `expunge suite tofu` is.

    Parameters
    ----------
    data:
        A folder with the files of MUSE-News or MUSE-Books (raw/forget and so on; Parquet, JSON lines, JSON), or a
        Hugging Face dataset id (muse-bench/MUSE-News).
    model:
        The model that is taught: a starter's name, a folder, or an id.
    series:
        Also run each method on the forget sets of growing size (scal), on requests one after another (sust), or on both.
    texts:
        Use so many texts of each set of raw texts, the first ones; if not given, all.
    methods:
        Names with commas between them, or all.
    seeds:
        Models of each method.
    out:
        The suite's folder.
    """
    from expunge.suites.muse.reading import read_muse

    sets = read_muse(data, [name.strip() for name in series.split(",") if name.strip()], texts)
    command = Command(name="muse", data=data, model=model, methods=methods, seeds=seeds, teaching=teaching,
                      options=options, out=out, printed=printed)  # fmt: skip
    return carry_out(command, sets, {"series": series, "texts": texts})
