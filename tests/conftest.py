"""Shared fixtures: a tiny Llama with a byte-level tokenizer, built on the fly, so that no test needs a download."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes of the tests share the cores; and bits depend on it
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell's background jobs inherit deafness to Ctrl-C, and so would the commands that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

from cheap_figures import drawing, frame
from expunge.report import svg
from tiny_model import build_tiny_model

pytest_plugins = ["made_once", "tokenizer_fixtures", "typing_fixtures"]


@pytest.fixture(scope="session", autouse=True)
def _short_answers_and_few_facts(request: pytest.FixtureRequest) -> Iterator[None]:
    """A model with random weights babbles to the last token, and knows no fact: a second of each run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        if "not long" in request.config.option.markexpr:
            patch.setattr("expunge.kinds.language.elicitation.asking.ANSWER_TOKENS", 24)
            from expunge.kinds.language.measures import general_knowledge

            few = general_knowledge.facts()[:6]
            patch.setattr(general_knowledge, "facts", lambda: few)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, Any, Any]:
    """Libraries and tests stay for good: a garbage collection, which each run asks for twice, need not look at them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
    """So does what the tests of a module have imported, and what they keep for other modules."""
    found = yield
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()
    return found


@pytest.fixture(scope="session", autouse=True)
def _whole_runs_at_less_cost() -> Iterator[None]:
    """Half of a run of the tiny model is painting and drawing figures, and waiting for the disk to hold what is written.

    Figures are drawn where they are looked at (`drawn`, `drawing`): in tests of reports, and once for each kind of run. What
    a disk holds is tested in the processes that tests start.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(svg, "as_svg", frame)
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def drawn() -> Iterator[None]:
    """Figures as they are, for a module of tests."""
    with drawing():
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
