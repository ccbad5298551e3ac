"""As in_parts.py, for four processes: a step is of four batches; run by test_four_parts.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import in_parts

from expunge.core.processes import world
from expunge.kinds.language.recipe import Training
from expunge.train.precision import Precision


def of_four_batches(**given: Any) -> Training:
    return Training(**given | {"gradient_accumulation_steps": 4 // world()})


if __name__ == "__main__":
    Precision(False)  # joins the other processes
    in_parts.Training = of_four_batches  # type: ignore[assignment, misc]
    in_parts.everything(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
