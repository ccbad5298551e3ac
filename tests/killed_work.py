"""Work that is killed after some steps, and resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expunge.kinds.language.session import LanguageWork
from expunge.runs.method import Method
from tiny import again


class Killed(BaseException):
    pass


def killed_and_resumed(
    work: LanguageWork, model: Path, method: Method, after: Sequence[int]
) -> Iterator[tuple[LanguageWork, LanguageWork]]:
    """(carried out at once, killed after so many steps and resumed): the same method, work and stored model."""
    often = replace(work, training=work.training.model_copy(update={"probe_steps": 1, "save_seconds": 1e-6}))
    whole = again(often, model, "whole")
    whole.carry_out(method)
    for last in after:
        told: list[int] = []

        def stop(*_: Any, told: list[int] = told, last: int = last) -> None:
            told.append(1)
            if len(told) == last:
                raise Killed

        with pytest.raises(Killed):
            again(often, model, f"{last}", on_progress=stop).carry_out(method)
        resumed = again(often, model, f"{last}")
        resumed.carry_out(method)
        yield whole, resumed
