"""`expunge compare`."""

from __future__ import annotations

from pathlib import Path


def compare(*runs: Path, out: Path | None = None) -> None:
    """Show the scores of runs side by side; changes are paired where base model and sets are the same.

    Of contests, the methods are compared side by side: how far each came on every forget set. Of suites of questions (TOFU
    and others), all models are, and evaluations of TOFU by OpenUnlearning may stand beside them.

    For example:

        expunge compare runs/a runs/b

        expunge compare runs/a runs/b runs/c --out comparison.html

        expunge compare runs/challenge runs/challenge-1 runs/challenge-2

        expunge compare runs/tofu TOFU_EVAL.json

    Parameters
    ----------
    runs:
        Two run folders or more, or two folders of suites of a kind; beside those of questions, files of OpenUnlearning.
    out:
        Write the comparison as a page too.
    """
    from expunge.api import compare as compare_
    from expunge.errors import RecipeError

    if len(runs) < 2:
        raise RecipeError("nothing to compare", seen=f"{len(runs)} run folders", allowed="two or more")
    print(compare_(runs, out))
