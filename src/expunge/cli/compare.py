"""`expunge compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed, print_json


def compare(
    *runs: Path, html: Annotated[Path | None, Parameter(name=["--html", "--out"])] = None, printed: Printed = WORDS
) -> None:
    """Show the scores of runs side by side; changes are paired if base model and sets are the same.

    For contests, the methods are compared: how far each came on every forget set. For suites of questions (TOFU
    and others), all models are, together with evaluations of TOFU and MUSE by OpenUnlearning, if given.

    For example:

        expunge compare runs/a runs/b

        expunge compare runs/a runs/b runs/c --html comparison.html

        expunge compare runs/challenge runs/challenge-1 runs/challenge-2

        expunge compare runs/tofu TOFU_EVAL.json

    Parameters
    ----------
    runs:
        Two or more run folders, or folders of suites of one kind; with suites of questions, also files of
        OpenUnlearning.
    html:
        Also write the comparison as a page, with figures; one of them plots forgetting against damage.
    """
    from expunge.api import comparison
    from expunge.errors import RecipeError

    if len(runs) < 2:
        raise RecipeError("nothing to compare", seen=f"{len(runs)} run folders", allowed="two or more")
    found = comparison(runs, html)
    if printed.json:
        print_json(found.row())
    else:
        print(found)
