from __future__ import annotations

from collections.abc import Iterator

import pytest
import small_plan

from expunge.kinds.language.plan import depth


@pytest.fixture(scope="module", autouse=True)
def _each_step_once() -> Iterator[None]:
    """Plans try the same steps again and again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth, "training_step", small_plan.training_step)
        patch.setattr(depth, "look", small_plan.look)
        yield
