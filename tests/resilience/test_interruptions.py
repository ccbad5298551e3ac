"""SIGINT and SIGTERM in every phase of a run: it exits at once, says how to resume, and resumes."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from fork_server import Commands, Whole
from small import as_options, leftovers, results

PHASES = [
    ("loading the model", "transformers:AutoModelForCausalLM.from_pretrained", 1, signal.SIGTERM),
    ("elicitation", "expunge.kinds.language.elicitation.asking:CausalLM.generate", 1, signal.SIGINT),
    ("measuring the base model", "expunge.kinds.language.measures.scores:perplexity", 2, signal.SIGTERM),
    ("reinforcing", "expunge.methods.fine_tune:FineTune.loss", 2, signal.SIGINT),
    ("labels", "expunge.methods.whos_harry_potter.labels:combine", 1, signal.SIGTERM),
    ("unlearning", "expunge.methods.whos_harry_potter:WhosHarryPotter.loss", 4, signal.SIGINT),
    ("writing a checkpoint", "expunge.train.checkpoint:save_file", 1, signal.SIGTERM),
    ("saving the model", "expunge.kinds.language.unlearning:save_model", 1, signal.SIGINT),
    ("measuring the unlearned model", "expunge.kinds.language.measures.scores:general_knowledge", 1, signal.SIGTERM),
    ("writing the report", "expunge.spine:render_report", 1, signal.SIGINT),
]


def test_in_every_phase(commands: Commands, place: Path, command: Sequence[str], whole: Whole) -> None:
    """One run, broken off in one phase after another."""
    out = place / "signalled"
    for phase, function, call, number in PHASES:
        ended = commands.run([*command, "--out", out.name], place, on_call=(function, call, number))
        assert ended.code == 130, (phase, ended)
        said = ended.err[ended.err.index("expunge: ") :]
        assert said == (
            f"expunge: interrupted by {number.name}\n  next:    run the same command again: it resumes in signalled\n"
        ), phase
        assert ended.after_signal is not None
        assert ended.after_signal < 5, phase
        assert leftovers(out) == [], phase
    ended = commands.run([*command, "--out", out.name], place)
    assert ended.code == 3, ended.err
    assert results(out) == whole.results


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_the_run_has_begun(number: signal.Signals, commands: Commands, place: Path) -> None:
    """While the command line is read and libraries are imported."""
    words = ["forget", "forget.txt", "--model", "tiny", "--out", "never"]
    ended = commands.run(words, place, on_call=("expunge.runs.overrides:read_overrides", 1, number))
    assert (ended.code, ended.err) == (130, "expunge: interrupted\n")
    assert not (place / "never").exists()


def test_while_teaching(commands: Commands, place: Path) -> None:
    words = ["teach", "forget.txt", "--keep", "retain.txt", "--model", "tiny", "--out", "taught"]
    words += as_options({"tokens": 256, "epochs": 2})
    on_call = ("expunge.methods.fine_tune:FineTune.loss", 2, signal.SIGTERM)
    ended = commands.run(words, place, on_call=on_call)
    assert ended.code == 130
    assert "interrupted by SIGTERM" in ended.err
    assert "run the same command again: it resumes in taught" in ended.err
    assert commands.run(words, place).code == 0
    assert (place / "taught" / "retrained" / "model.safetensors").is_file()
