"""Datasets from the Hugging Face hub, fetched as the files they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expunge.data.images.decoding import SUFFIXES
from expunge.errors import DataError

PATTERNS = ("*.parquet", "*.csv", "*.jsonl", "*.npz", *(f"*{suffix}" for suffix in SUFFIXES))
"files of a dataset of pictures"


def fetch(name: str, files: Sequence[str] = PATTERNS) -> Path:
    """The folder of a dataset in the hub's cache; files of these patterns are downloaded if they are not there.

    Raises:
        DataError: no such dataset, or no way to reach it.
    """
    from huggingface_hub import snapshot_download

    identifier, _, part = name.partition(":")
    patterns = [f"{part}/{pattern}" for pattern in files] if part else list(files)
    try:
        folder = Path(snapshot_download(identifier, repo_type="dataset", allow_patterns=patterns))
    except PermissionError as error:
        raise DataError(
            f"the dataset {name} cannot be saved to the cache",
            seen=f"{error.strerror}: {error.filename}",
            next_step="name a folder that you may write to for what comes from the hub: export HF_HOME=FOLDER",
        ) from error
    except Exception as error:  # every transport below has exceptions of its own
        lines = str(error).strip().splitlines()
        raise DataError(
            f"the dataset {name} cannot be fetched",
            seen=f"{type(error).__name__}: {lines[0] if lines else ''}",
            allowed="the id of a dataset (owner/name) and a network, or a path",
            next_step="check the id and the network, or download the dataset elsewhere and give its folder",
        ) from error
    return folder / part if part else folder
