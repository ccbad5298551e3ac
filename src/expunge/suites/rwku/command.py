"""`expunge suite rwku`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed
from expunge.suites.tofu.command import Command, Teaching, carry_out


def rwku(
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    data: str,
    target: str | None = None,
    corpus: str = "passage",
    model: str = "smollm2-135m",
    rows: int | None = None,
    methods: str = "all",
    seeds: int = 1,
    out: Path = Path("runs/rwku"),
    printed: Printed = WORDS,
) -> int:
    """RWKU: let methods forget a famous person whom a model knows, and ask about that person, neighbours and the rest.

    For example:

        expunge suite rwku --data FOLDER --target "Stephen King" --model FOLDER --methods npo,rmu --out runs/rwku

    Nothing is taught: the model must know before. There is no oracle. Otherwise it is run as `expunge suite tofu` is.

    Parameters
    ----------
    data:
        A folder with the files of RWKU (forget_level1 and so on; JSON, JSON lines, Parquet), a target's folder as RWKU's
        own script writes it, or a Hugging Face dataset id (jinzhuoran/RWKU).
    target:
        The person, as the files write the name, or several with semicolons between them; needed where the data has several.
    corpus:
        The texts that methods are given: passage (on the person, as published), positive_llama3 or positive_phi3 (written by
        these models).
    model:
        The model that forgets: a starter's name, a folder, or an id.
    rows:
        Ask at most so many questions of each split, evenly spread; if not given, all.
    methods:
        Names with commas between them, or all.
    seeds:
        Models of each method.
    out:
        The suite's folder.
    """
    from expunge.suites.rwku.reading import read_rwku

    names = None if target is None else [name.strip() for name in target.split(";") if name.strip()]
    sets = read_rwku(data, names, corpus)
    command = Command(name="rwku", data=data, model=model, methods=methods, seeds=seeds, teaching=Teaching(rows=rows),
                      options=options, out=out, printed=printed)  # fmt: skip
    return carry_out(command, sets, {"target": target, "corpus": corpus})
