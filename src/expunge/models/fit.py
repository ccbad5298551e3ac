"""Check that the weights in a folder match the configuration, without reading them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from expunge.errors import ModelError
from expunge.models.language_kind import LanguageKind

HEADS = ("lm_head.", "embed_out.", "output.")
"prefixes of the names of a head that predicts tokens"


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Context without transformers' progress bars."""
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Context without transformers' progress bars and warnings."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with without_bars():
            yield
    finally:
        logging.set_verbosity(before)


def check_fit(kind: LanguageKind, folder: Path, name: str) -> None:
    """Compare names and shapes of the weights with the model, as `from_pretrained` would, without loading either.

    Raises:
        ModelError: weights are missing, or have other shapes than the configuration says.
    """
    try:
        with quiet():
            _, info = kind.load(folder, torch.float32, device_map={"": "meta"})
    except Exception:  # a model that cannot be built without memory; loading it shows what is wrong
        return
    check_info(info, name, kind.narrow)


def check_info(info: dict[str, Any], name: str, narrow: str | None) -> None:
    """Raise for problems that transformers found in loading a model: weights of other shapes, missing ones, unread
    scales.

    Args:
        info: the `output_loading_info` of `from_pretrained`.
        narrow: the narrow format that the weights are stored in.
    """
    if wrong := sorted(info["mismatched_keys"]):
        weight, stored, wanted = wrong[0]
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ModelError(
            f"{len(wrong)} weights of {name} have other shapes than its config.json says",
            seen=f"{weight} of {tuple(stored)}{more}",
            allowed=f"{tuple(wanted)}",
            next_step="copy config.json and the weights from one and the same model",
        )
    if missing := sorted(info["missing_keys"]):
        if all(key.startswith(HEADS) for key in missing):
            raise ModelError(
                f"{name} has no head that predicts tokens: it would be random",
                seen=f"missing: {', '.join(missing)}",
                allowed="a whole language model, not an embedding model or the body of one",
                next_step="give the language model that it was made from",
            )
        raise ModelError(
            f"{name} lacks weights, which would be random",
            seen=", ".join(missing[:5]) + (" ..." if len(missing) > 5 else ""),
            next_step="check the files (a shard missing?), and that config.json belongs to these weights",
        )
    if narrow is not None and (scales := sorted(key for key in info["unexpected_keys"] if "scale" in key)):
        raise ModelError(
            f"{name} is stored as {narrow} in a form that is not read here: its scales would be left out",
            seen=", ".join(scales[:3]),
            next_step="give the model in bfloat16, float16 or float32",
        )
