"""Shared fixtures: a tiny Llama with a byte-level tokenizer, built on the fly, so that no test needs a download."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes of the tests share the cores; and bits depend on it
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell's background jobs inherit deafness to Ctrl-C, and so would the commands that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

from tiny_model import build_tiny_model

pytest_plugins = ["tokenizer_fixtures"]


@pytest.fixture(scope="session", autouse=True)
def _short_answers(request: pytest.FixtureRequest) -> Iterator[None]:
    """A model with random weights babbles to the last token: half a second of each run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        if request.config.option.markexpr == "not long":
            patch.setattr("expunge.kinds.language.elicitation.asking.ANSWER_TOKENS", 24)
        yield


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """The command line sets its own way out, which would end the tests with it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder holding the tiny model; read only."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
