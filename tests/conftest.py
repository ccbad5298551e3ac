"""Shared fixtures: a tiny Llama with a byte-level tokenizer, built on the fly, so that no test needs a download."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell's background jobs inherit deafness to Ctrl-C, and so would the commands that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

from tiny_model import build_tiny_model


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder holding the tiny model; read only."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
