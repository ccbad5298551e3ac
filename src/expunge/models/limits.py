"""Which tokens a model has, known from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expunge.errors import ModelError
from expunge.models.weights import check_weights

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "embeddings.weight")
"how the names of the matrix end that turns tokens into vectors"


def vocabulary(config: Any, folder: Path) -> int:
    """How many tokens a model knows: the rows of its embedding, or what its configuration says where none is found."""
    said = int(config.get_text_config().vocab_size)
    for header in check_weights(folder):
        for name, (_, shape) in header.tensors.items():
            if name.endswith(EMBEDDINGS) and len(shape) == 2 and "position" not in name and "vis" not in name:
                return min(said, shape[0]) if shape[0] >= said // 2 else said
    return said


def check_vocabulary(tokenizer: Any, config: Any, folder: Path, name: str) -> None:
    """Hold the tokenizer against the embedding.

    Tokens that were added by name and lie beyond it (a padding token, mostly) are let pass where nothing uses them by
    itself; a text that holds one is refused when it is read.

    Raises:
        ModelError: the tokenizer makes tokens that the model does not have.
    """
    check_tokenizer(tokenizer, vocabulary(config, folder), name)


def check_tokenizer(tokenizer: Any, known: int, name: str) -> None:
    """`check_vocabulary` of a model that knows so many tokens."""
    tokens = tokenizer.get_vocab()
    added = set(tokenizer.get_added_vocab())
    beyond = sorted((number, token) for token, number in tokens.items() if number >= known)
    used = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token}
    used |= {token for _, token in beyond if token in str(tokenizer.chat_template or "")}
    wrong = [(number, token) for number, token in beyond if token not in added or token in used]
    if wrong:
        number, token = wrong[0]
        raise ModelError(
            f"the tokenizer of {name} has tokens that the model does not know",
            seen=f"{len(beyond)} of {len(tokens)} tokens beyond the embedding, such as {token!r}, number {number}",
            allowed=f"numbers below {known}",
            next_step="give the tokenizer that belongs to these weights; or, where tokens were added on purpose, "
            "model.resize_token_embeddings(len(tokenizer)), train them, and save both",
        )
