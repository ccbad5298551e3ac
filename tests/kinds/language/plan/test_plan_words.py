"""What a plan says where there is something to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from expunge.kinds.language.plan.words import head


def test_a_speed_that_is_not_known_comes_with_what_to_type() -> None:
    device: Any = SimpleNamespace(name="8x24", count=8, memory=24 << 30, usable=22 << 30, speed=None, source="")
    plan: Any = SimpleNamespace(device=device, model="m", method="rmu", weights=10, trained=10, steps=1)
    assert "not known: give --rate FLOPS, or a --device" in head(plan)
