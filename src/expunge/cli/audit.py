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
    """Try to bring back what a model forgot, and hold it against a control that never saw it.

    Exit code 0: passed; 3: not. What an attack brings back counts as far as it goes beyond the control: a model that was
    trained without the forget set (--control), like texts or pictures that no model saw (--holdout), or, of texts, the forget
    set with its names replaced by invented ones.

    For example:

        expunge audit runs/holmes --budget 10m

        expunge audit runs/holmes --attacks relearn,quantize --control models/retrained

        expunge audit some/model --base its/base --forget book.txt --retain other.txt --holdout unseen.txt

    The limits stand in the recipe's part `audit`; for a model that Expunge did not make they are given as --audit.FIELD
    VALUE. They are fixed before the first attack.

    Parameters
    ----------
    target:
        A run folder of any kind of model; or a language model (folder, id, starter), with --base, --forget and --retain.
    attacks:
        Names of attacks with commas between; all: every one.
    budget:
        Time that it may take, such as 10m, 90s or 2h; the attacks that tell most are carried out.
    out:
        Of a model: the folder to write, with the report in its audit/; default: runs/audit-NAME.
    junit:
        Write the findings there as JUnit XML, for gates in continuous integration.
    """
    from expunge.api import audit as audit_
    from expunge.cli.told_audit import tell_audit
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
    return tell_audit(folder, result, printed, junit)
