"""An audit of which one process's attacks fail; run by test_audit_together.py in two processes."""

from __future__ import annotations

import sys
from typing import Any

from expunge.cli import main
from expunge.core.processes import place
from expunge.runs.attacking import AnyAudit

attacked = AnyAudit.attacked


def failing(self: Any, *given: Any) -> Any:
    if place() == 1:
        raise ValueError("no attack here")
    return attacked(self, *given)


if __name__ == "__main__":
    AnyAudit.attacked = failing  # type: ignore[method-assign]
    sys.argv = ["expunge", "audit", sys.argv[1], "--attacks", "quantize,prune"]
    main()
