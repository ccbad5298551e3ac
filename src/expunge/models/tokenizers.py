"""Load a model's tokenizer, and check that it is complete and that the model knows its tokens."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from expunge.core import storage
from expunge.errors import ModelError, first_line
from expunge.models.weights import check_weights

SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model", "source.spm")
PLAIN = (
    *("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "vocab.bpe", "encoder.json", "bpe.codes"),
    "vocab.model",
)
TIKTOKEN = ".tiktoken"
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "embeddings.weight")
"endings of the names of the embedding matrix"
PROBE = "The answer to 2 + 2 is 4."


def read_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer in the folder of a model; `name` is the user's name for it.

    Raises:
        ModelError: the folder has none, one that needs a missing package or code of its own, a damaged one, or one that
            makes no tokens from a text.
        StorageError: its files may not be read.
    """
    with storage.reading(folder):
        found = _vocabulary_files(folder)
    if not found:
        raise _missing(folder, name)
    alone = not set(found).isdisjoint(SENTENCEPIECE) and set(found).isdisjoint(PLAIN)
    if alone and not (find_spec("sentencepiece") and find_spec("google.protobuf")):
        raise ModelError(
            f"{name} has its tokenizer only as a SentencePiece model, and the package that converts it is not installed",
            seen=", ".join(found),
            allowed="tokenizer.json, or that package",
            next_step="pip install 'expunge[sentencepiece]' and run the same command again",
        )
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except PermissionError as error:
        raise storage.unreadable(error, folder) from error
    except Exception as error:
        raise _unloadable(folder, name, found, error) from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer of {name} does not give the characters of each token",
            seen=type(tokenizer).__name__,
            allowed="a fast tokenizer (a folder with tokenizer.json)",
            next_step="take a copy of the model that has tokenizer.json, or a model of another family",
        )
    ids = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    if not ids or set(ids) <= {tokenizer.unk_token_id}:
        raise ModelError(
            f"the tokenizer of {name} makes no tokens from a plain text",
            seen=f"{ids} for {PROBE!r}, with {len(tokenizer)} tokens of {', '.join(found)}",
            allowed="the tokenizer that the model was trained with",
            next_step=f"copy the tokenizer's files of the original model to {folder}",
        )
    return tokenizer


def _vocabulary_files(folder: Path) -> list[str]:
    names = sorted(file.name for file in folder.iterdir() if file.is_file())
    return [name for name in names if name in (*SENTENCEPIECE, *PLAIN) or name.endswith(TIKTOKEN)]


def _missing(folder: Path, name: str) -> ModelError:
    settings = [each for each in ("tokenizer_config.json", "special_tokens_map.json") if (folder / each).is_file()]
    return ModelError(
        f"{name} has no tokenizer" + (": it has settings, but no vocabulary" if settings else ""),
        seen=", ".join(settings) or None,
        allowed="tokenizer.json (or tokenizer.model, or vocab.json and merges.txt) beside the weights",
        next_step=f"save the tokenizer of the model that this one was made from to {folder}: "
        f"AutoTokenizer.from_pretrained(ORIGINAL).save_pretrained('{folder}')",
    )


def _unloadable(folder: Path, name: str, found: list[str], error: Exception) -> ModelError:
    text = str(error)
    if "trust_remote_code" in text or "custom code" in text:
        return ModelError(
            f"the tokenizer of {name} comes with code of its own, which is never run",
            seen="auto_map in tokenizer_config.json",
            allowed="a tokenizer that transformers supports",
            next_step="save it as tokenizer.json where you trust its code, and remove auto_map from tokenizer_config.json",
        )
    if "tiktoken" in text and any(each.endswith(TIKTOKEN) for each in found):
        return ModelError(
            f"{name} has its tokenizer only in tiktoken's format, which needs that package",
            seen=", ".join(found),
            allowed="tokenizer.json",
            next_step="pip install tiktoken, and run the same command again",
        )
    return ModelError(
        f"cannot load the tokenizer of {name}",
        seen=first_line(error),
        allowed="files that AutoTokenizer.from_pretrained reads",
        next_step=f"a damaged file? copy {', '.join(found[:3])} in {folder} again from the original model",
    )


def vocabulary(config: Any, folder: Path) -> int:
    """Number of tokens that a model knows: the rows of its embedding, or its configuration's number if none is
    found."""
    said = int(config.get_text_config().vocab_size)
    for header in check_weights(folder):
        for name, (_, shape) in header.tensors.items():
            if name.endswith(EMBEDDINGS) and len(shape) == 2 and "position" not in name and "vis" not in name:
                return min(said, shape[0]) if shape[0] >= said // 2 else said
    return said


def check_vocabulary(tokenizer: Any, config: Any, folder: Path, name: str) -> None:
    """Compare the tokenizer with the embedding.

    Tokens added by name beyond it (mostly a padding token) are allowed if nothing uses them by
    default; a text with one is refused when it is read.

    Raises:
        ModelError: the tokenizer makes tokens that the model does not have.
    """
    check_tokenizer(tokenizer, vocabulary(config, folder), name)


def check_tokenizer(tokenizer: Any, known: int, name: str) -> None:
    """`check_vocabulary` of a model that knows this many tokens."""
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
            next_step="give the tokenizer that belongs to these weights; or, if tokens were added on purpose, "
            "model.resize_token_embeddings(len(tokenizer)), train them, and save both",
        )
