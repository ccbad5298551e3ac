"""`expunge suite rwku`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed
from expunge.suites.tofu.command import Command, carry_out
from expunge.suites.tofu.options import UNTAUGHT, Teaching, Untaught


def rwku(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    target: str | None = None,
    corpus: str = "passage",
    models: Annotated[Untaught, Parameter(name="*")] = UNTAUGHT,
    printed: Printed = WORDS,
) -> int:
    """RWKU: let methods forget a famous person whom a model knows, and ask about that person, neighbours and the rest.

    For example:

        expunge suite rwku --data FOLDER --target "Stephen King" --model FOLDER --methods npo,rmu --out runs/rwku

    Nothing is taught: the model must know before. There is no oracle. Otherwise it works like `expunge suite tofu`.

    Parameters
    ----------
    data:
        A folder with the files of RWKU (forget_level1 and so on; JSON, JSON lines, Parquet), a target's folder as
        RWKU's own script writes it, or a Hugging Face dataset id (jinzhuoran/RWKU).
    target:
        The person, as the files write the name, or several separated by semicolons; needed if the data has several.
    corpus:
        The texts that methods are given: passage (on the person, as published), positive_llama3 or positive_phi3
        (written by these models).
    """
    from expunge.suites.rwku.reading import read_rwku

    names = None if target is None else [name.strip() for name in target.split(";") if name.strip()]
    sets = read_rwku(data, names, corpus)
    command = Command(name="rwku", data=data, models=models, teaching=Teaching(rows=models.rows),
                      options=options, printed=printed)  # fmt: skip
    return carry_out(command, sets, {"target": target, "corpus": corpus})
