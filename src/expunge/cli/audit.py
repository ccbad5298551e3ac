"""`expunge audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from expunge.core.printed import WORDS, Printed
from expunge.runs.more import Audited


def audit(
    target: str,
    /,
    *options: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    read: Annotated[Audited | None, Parameter(name="*")] = None,
    attacks: str = "all",
    budget: str | None = None,
    out: Path | None = None,
    junit: Path | None = None,
    printed: Printed = WORDS,
) -> int:
    """Try to bring back what a model forgot, compared with a control that never saw it.

    Exit code 0: passed; 3: not. What an attack brings back counts only beyond the control: a model that was
    trained without the forget set (--control), similar texts or pictures that no model saw (--holdout), or, for texts,
    the forget set with its names replaced by invented ones.

    For example:

        expunge audit runs/holmes --budget 10m

        expunge audit runs/holmes --attacks relearn,quantize --control models/retrained

        expunge audit some/model --base its/base --forget book.txt --retain other.txt --holdout unseen.txt

    The limits are in the recipe's part `audit`; for a model that Expunge did not make they are given as --audit.FIELD
    VALUE. They are fixed before the first attack.

    Parameters
    ----------
    target:
        A run folder of any kind of model; or a language model (folder, id, starter), with --base, --forget and
        --retain.
    attacks:
        Names of attacks, separated by commas; all: every one.
    budget:
        Time that it may take, such as 10m, 90s or 2h; the most informative attacks are run.
    out:
        For a model: the folder to write, with the report in its audit/; default: runs/audit-NAME.
    junit:
        Write the findings to this file as JUnit XML, for gates in continuous integration.
    """
    from expunge.api import audit as audit_
    from expunge.cli.print_audit import print_audit
    from expunge.core.processes import is_first
    from expunge.runs.overrides import read_overrides

    folder, result = audit_(
        target,
        attacks=() if attacks == "all" else tuple(name.strip() for name in attacks.split(",") if name.strip()),
        budget=budget,
        out=out,
        show=printed.show(),
        **(read or {}),
        **read_overrides(options),
    )
    if not is_first():  # of several processes the first one writes, prints, and has the exit code
        return 0
    return print_audit(folder, result, printed, junit)
