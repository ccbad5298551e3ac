"""The files that make a model, by digest."""

from __future__ import annotations

from pathlib import Path

from expunge.core import storage

READ_BY_TRANSFORMERS = {".safetensors", ".json", ".jinja", ".model", ".txt", ".md"}
"endings of the files that `from_pretrained` reads, and of the card"
INDEX = "sisa.json"
"the file that marks a folder of shard models"
ASSISTED = "assistant.json"
"the file that marks a folder of a model with its assistant"
GATED = "gate.json"
"the file that marks a folder of a model with its gated adapters"


def sharded_folder(name: str) -> Path | None:
    """The folder of shard models of this name, or in the run of this name; None if there is none."""
    return next((folder for folder in (Path(name), Path(name) / "model") if (folder / INDEX).is_file()), None)


def is_assisted(folder: Path) -> bool:
    """Whether a folder has a model with an assistant or gated adapters."""
    return (folder / ASSISTED).is_file() or (folder / GATED).is_file()


def digest_model(folder: Path) -> dict[str, str]:
    """sha256 of the files that `from_pretrained` reads, by name; for a folder of several models all files, by path."""
    if (folder / INDEX).is_file() or is_assisted(folder):
        return storage.digest_folder(folder)
    return {
        file.name: storage.digest_file(file)
        for file in sorted(folder.iterdir())
        if file.is_file() and file.suffix in READ_BY_TRANSFORMERS
    }


def digest_saved(folder: Path) -> dict[str, str]:
    """sha256 of an unlearned model's files, without its card, which is written last and may be edited; none if it is
    gone."""
    if not folder.is_dir():
        return {}
    return {name: digest for name, digest in digest_model(folder).items() if name != "README.md"}
