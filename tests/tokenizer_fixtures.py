"""Tokenizers of every kind as fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tokenizer_kinds import KINDS, build_tokenizer


@pytest.fixture(scope="session", params=KINDS)
def any_tokenizer(request: pytest.FixtureRequest) -> Any:
    return build_tokenizer(request.param)


@pytest.fixture(scope="session")
def plain_tokenizer() -> Any:
    """Byte-level BPE without a chat template and without anything put before a text."""
    return build_tokenizer("gpt2")


@pytest.fixture(scope="session")
def trimmed_tokenizer() -> Any:
    """The same, but its offsets leave out the space before a word."""
    return build_tokenizer("trimmed")


@pytest.fixture(scope="session")
def prefixing_tokenizer() -> Any:
    """A tokenizer that puts `<s>` (id 1) before every text."""
    return build_tokenizer("llama2")


@pytest.fixture(scope="session")
def chat_tokenizer(tiny_model_folder: Path) -> Any:
    """The tiny model's byte-level tokenizer, with a chat template."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model_folder)
