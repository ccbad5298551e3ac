"""The folder of a model by its name, before anything of it is loaded: checked without torch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from expunge.core import storage
from expunge.errors import ModelError, nearest
from expunge.models import unusable
from expunge.models.digest import is_assisted
from expunge.models.starter import STARTERS
from expunge.models.weights import check_weights, weight_files


def named_folder(name: str) -> Path | None:
    """The folder of a model given by its folder; a run folder means the model in it. None: no such folder."""
    folder = Path(name)
    if not folder.is_dir():
        return None
    return folder / "model" if (folder / "model").is_dir() and not (folder / "config.json").is_file() else folder


def is_adapter(folder: Path) -> bool:
    """Whether a folder has an adapter and no model."""
    return (folder / unusable.ADAPTER).is_file() and not (folder / "config.json").is_file()


def check_named(name: str, weights: bool = True) -> None:
    """Raise if a name cannot be a language model, as far as that shows without a hub.

    Args:
        weights: whether the model is to be loaded; else its configuration is enough.

    Raises:
        ModelError: a folder without one, a file, or a name that neither exists nor is a hub id.
        StorageError: its files may not be read.
    """
    if name in STARTERS:
        return
    path = Path(name)
    with storage.reading(path):
        folder = named_folder(name)
        if folder is not None and weights and not is_adapter(folder) and not is_assisted(folder):
            check_folder(folder)
        elif folder is None and path.exists():
            raise unusable.not_a_folder(path)
        elif folder is None:
            check_id(name)


def check_id(name: str) -> None:
    """Raise `ModelError` if a name does not have the form of a hub id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ModelError(
            f"there is no model {name}: no such folder, and not a hub id", next_step=instead_of(name)
        ) from error


def instead_of(name: str) -> str:
    """The next step for a name that is not a model."""
    near = nearest(name, STARTERS)
    return f"did you mean the starter model {near}?" if near else "give a model folder, or a starter: smollm2-135m"


def check_folder(folder: Path, on_hub: tuple[str, str | None] | None = None) -> None:
    """Raise if a folder has no model whose weights can be read.

    `on_hub`: (id, revision) of its source, if it was fetched and so only has usable files.
    """
    if not (folder / "config.json").is_file():
        raise unusable.no_config(folder, STARTERS)
    names = [file.name for file in folder.iterdir()]
    if not weight_files(folder) and not list(folder.glob("*.safetensors.index.json")):
        raise unusable.no_weights(folder, names if on_hub is None else _names_on_hub(*on_hub, names))
    if unusable.ADAPTER in names:
        raise unusable.adapter_only(folder, whole=True)
    check_weights(folder)


def _names_on_hub(name: str, revision: str | None, fetched: Collection[str]) -> Collection[str]:
    """The files of a repository, including those not fetched; only the fetched ones if the hub does not answer."""
    from huggingface_hub import list_repo_files

    try:
        return list(list_repo_files(name, revision=revision))
    except Exception:  # offline, for example: then less is known
        return fetched
