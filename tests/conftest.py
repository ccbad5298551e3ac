"""Shared fixtures: a tiny Llama with a byte-level tokenizer, built on the fly, so that no test needs a download."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

from tiny_model import build_tiny_model


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder holding the tiny model; read only."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
