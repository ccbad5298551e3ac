"""What the progress of a training shows after its step: the losses that it has, and its speed."""

from __future__ import annotations

import pytest

from expunge.kinds.language.unlearning import _loss_note


@pytest.mark.parametrize(
    ("forget", "retain", "shown"),
    [
        (1.234, 0.5, "forget 1.23, retain 0.50, 96 tokens/s"),
        (None, 0.5, "retain 0.50, 96 tokens/s"),
        (None, None, "96 tokens/s"),
    ],
)
def test_only_losses_that_are_there_are_shown(forget: float | None, retain: float | None, shown: str) -> None:
    assert _loss_note({"forget_truth": forget, "retain_truth": retain, "tokens_per_second": 96.4}) == shown
