"""`expunge suite muse`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed
from expunge.suites.tofu.command import Command, carry_out
from expunge.suites.tofu.options import MODELS, TEACHING, Models, Teaching


def muse(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    series: str = "",
    texts: int | None = None,
    models: Annotated[Models, Parameter(name="*")] = MODELS,
    teaching: Annotated[Teaching, Parameter(name="*")] = TEACHING,
    printed: Printed = WORDS,
) -> int:
    """MUSE: teach a model news or books, let methods forget some of the texts, and compare with one that never saw
    these.

    For example:

        expunge suite muse --data FOLDER --methods npo,gradient_difference --out runs/muse

        expunge suite muse --data FOLDER --series scal,sust --methods npo,simnpo --out runs/muse-series

    It works like `expunge suite tofu`.

    Parameters
    ----------
    data:
        A folder with the files of MUSE-News or MUSE-Books (raw/forget and so on; Parquet, JSON lines, JSON), or a
        Hugging Face dataset id (muse-bench/MUSE-News).
    series:
        Also run each method on the forget sets of growing size (scal), on requests one after another (sust), or on
        both.
    texts:
        Use this many texts of each set of raw texts, the first ones; default: all.
    """
    from expunge.suites.muse.reading import read_muse

    sets = read_muse(data, [name.strip() for name in series.split(",") if name.strip()], texts)
    command = Command(name="muse", data=data, models=models, teaching=teaching,
                      options=options, printed=printed)  # fmt: skip
    return carry_out(command, sets, {"series": series, "texts": texts})
