from __future__ import annotations

from expunge.core.safe_text import visible
from expunge.report.probes import TOKENS, evenly, probes


def event(step: int, **tokens: float) -> dict[str, object]:
    return {"step": step, "prompts": [{"prompt": "p", "tokens": tokens}]}


def test_series_hold_every_step_and_gaps_are_none() -> None:
    (probe,) = probes([event(0, Ron=0.6, a=0.1), event(2, Ron=0.1, tea=0.3)])
    assert probe.steps == (0, 2)
    assert probe.tokens == {"Ron": (0.6, 0.1), "a": (0.1, None), "tea": (None, 0.3)}
    assert probe.left_out == 0


def test_only_the_largest_tokens_are_shown_ordered_as_at_the_start() -> None:
    start = {f"t{i}": 0.01 * (i + 1) for i in range(TOKENS + 2)}
    (probe,) = probes([event(0, **start), event(1, **{**start, "t0": 0.9})])
    assert list(probe.tokens) == [f"t{i}" for i in range(TOKENS + 1, 2, -1)] + ["t0"]
    assert probe.left_out == 2


def test_tokens_that_look_the_same_are_told_apart() -> None:
    (probe,) = probes(
        [{"step": 0, "prompts": [{"prompt": "p", "tokens": {" Ron": 0.5, "Ron": 0.3, " the": 0.1, " ": 0.05}}]}]
    )
    assert list(probe.tokens) == ["␣Ron", "Ron", "the", "␣"]


def test_columns_are_spread_evenly_with_both_ends() -> None:
    assert evenly(5, 7) == [0, 1, 2, 3, 4]
    assert evenly(61, 7) == [0, 10, 20, 30, 40, 50, 60]
    assert evenly(25, 7) == [0, 4, 8, 12, 16, 20, 24]
    assert evenly(1, 7) == [0]


def test_unprintable_tokens_become_visible() -> None:
    assert visible("\n\r\n\t\x00\u202e\ud800é") == "⏎⏎⇥\\x00\\u202e\\ud800é"
