"""One process at a time in a run folder."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from fork_server import Commands, Whole
from small import leftovers, results


def test_the_second_is_refused_and_disturbs_nothing(
    commands: Commands, place: Path, command: Sequence[str], whole: Whole
) -> None:
    out = place / "shared"
    # Stopped in the middle of a stage, when what it has written so far lies in a folder aside.
    on_call = ("expunge.kinds.language.measures.scores:general_knowledge", 1, signal.SIGSTOP)
    first = commands.start([*command, "--out", "shared"], place, on_call=on_call)
    first.wait_until_stopped()
    events = (out / "events.jsonl").read_bytes()
    aside = [path for path in leftovers(out) if path.startswith("stages/")]
    assert len(aside) == 1
    for words in ([*command, "--out", "shared"], ["evaluate", "tiny", "--recipe", "shared/recipe.yaml"]):
        second = commands.run(words, place)
        assert second.code == 1
        said = second.err[second.err.index("expunge: ") :]
        assert said == (
            "expunge: another process is at work in shared\n  next:    wait for it, or choose another --out\n"
        )
    assert (out / "events.jsonl").read_bytes() == events
    assert [path for path in leftovers(out) if path.startswith("stages/")] == aside
    first.send(signal.SIGCONT)
    ended = first.wait()
    assert ended.code == 3, ended.err
    assert results(out) == whole.results
