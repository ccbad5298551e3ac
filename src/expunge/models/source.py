"""Where a model comes from: a starter's name, a folder, or a Hugging Face id. Safetensors only; no remote code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.core import storage
from expunge.errors import ExpungeError, ModelError, first_line
from expunge.models import unusable
from expunge.models.adapters import base_named, merged, no_base
from expunge.models.assistant import ASSISTANT, BASE, put_beside, read_difference
from expunge.models.digest import GATED, digest_model, is_assisted
from expunge.models.fit import check_fit, check_info, quiet
from expunge.models.folders import check_folder, check_id, instead_of, is_adapter, named_folder
from expunge.models.gate import put_gate
from expunge.models.gate_files import check_gate, read_gate
from expunge.models.language_kind import LanguageKind, language_kind
from expunge.models.starter import STARTERS, starter_folder
from expunge.models.tokenizers import check_vocabulary, read_tokenizer
from expunge.models.weights import check_weights, majority_type, weight_files

TYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"types of plain weights, in safetensors' names"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model found on disk, before its weights are loaded."""

    name: str
    folder: Path
    digests: dict[str, str]
    "sha256 of every file, by relative path"
    license: str | None = None
    hub_id: str | None = None
    adapter: Path | None = None
    "folder of an adapter to merge into the weights of `folder`"
    assisted: Path | None = None
    "folder of the model in `folder` with its assistant or gated adapters"

    @property
    def widened(self) -> bool:
        """Whether it must be float32: narrow dtypes would lose the merged adapter, or the assistant's effect."""
        return self.adapter is not None or self.assisted is not None

    @classmethod
    def of_folder(cls, folder: Path, name: str | None = None) -> ModelSource:
        """A complete model in a folder, made by a run of this package."""
        return cls(name or str(folder), folder, digest_model(folder))

    @property
    def digest(self) -> str:
        """One digest of everything that determines the model's outputs (without its card)."""
        return storage.digest_value({k: v for k, v in self.digests.items() if not k.endswith(".md")})

    @property
    def shown_name(self) -> str:
        """The hub id, or the last two folders: a page is shown to others, who need not know the folders of the
        machine."""
        path = Path(self.name)
        if self.hub_id is not None or not path.exists():
            return self.name
        parts = [part for part in path.parts if part not in (".", "..", path.anchor)]
        return "/".join(parts[-2:]) or self.folder.resolve().name


@dataclass(slots=True)
class LoadedModel:
    """A model with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: ModelSource
    stored_dtype: torch.dtype
    "the dtype that plain `from_pretrained` gives the weights, whatever their dtype here"
    narrow: str | None = None
    "the narrow format that they are stored in, if any (FP8, MXFP4)"
    unread: list[str] = field(default_factory=list)
    "names of stored weights that the model does not have"


def find_model(name: str, revision: str | None = None) -> ModelSource:
    """Find a language model by starter name, folder or hub id, and check from its files that it can be used.

    No weight is loaded: an unusable model is reported at once.

    Raises:
        ModelError: not found, not a language model, quantised, an adapter, weights only as pickle, weights that are
            missing, cut short or of other shapes, no tokenizer, a tokenizer of more tokens than the model, or code of
            its own.
        StorageError: its files may not be read.
    """
    if name in STARTERS:
        starter = STARTERS[name]
        folder = starter_folder(name)
        return ModelSource(name, folder, digest_model(folder), starter.license, starter.hub_id)
    if (there := named_folder(name)) is not None and is_adapter(there):
        return _adapted(name, there)
    if there is not None and is_assisted(there):
        return _assisted(name, there)
    folder, hub_id = _folder(name, revision)
    _check_language(folder, name)
    return ModelSource(name, folder, digest_model(folder), hub_id=hub_id)


def _adapted(name: str, folder: Path) -> ModelSource:
    """The base of an adapter with the adapter. Raises `ModelError` if either cannot be used."""
    named = base_named(folder)
    try:
        base = find_model(named)
    except ModelError as error:
        raise no_base(folder, named, error) from error
    own = {f"adapter/{file}": digest for file, digest in digest_model(folder).items()}
    return ModelSource(name, base.folder, base.digests | own, base.license, adapter=folder)


def _assisted(name: str, folder: Path) -> ModelSource:
    """A model with its assistant, or with gated adapters. Raises `ModelError` if a part cannot be used."""
    if gated := (folder / GATED).is_file():
        check_gate(folder)
    else:
        read_difference(folder)
    for part in (BASE,) if gated else (BASE, ASSISTANT):
        if not (folder / part).is_dir():
            raise ModelError(
                f"{folder} lacks one of its two models",
                seen=f"no folder {part}",
                next_step="copy the whole folder again from its origin",
            )
        check_folder(folder / part)
        _check_language(folder / part, f"{name}/{part}")
    return ModelSource(name, folder / BASE, digest_model(folder), assisted=folder)


def locate(name: str, revision: str | None = None) -> ModelSource:
    """A model of any kind by folder or hub id, with whole safetensors in it.

    Raises:
        ModelError: not found, weights only as pickle, missing or cut short.
        StorageError: its files may not be read.
    """
    folder, hub_id = _folder(name, revision)
    return ModelSource(name, folder, digest_model(folder), hub_id=hub_id)


def _folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    """(folder, hub id) of a model whose files are complete."""
    path = Path(name)
    with storage.reading(path):
        if (named := named_folder(name)) is not None:
            check_folder(named)
            return named, None
        if path.exists():
            raise unusable.not_a_folder(path)
        folder = _hub_folder(name, revision)
        check_folder(folder, on_hub=(name, revision))
    return folder, name


def _hub_folder(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    check_id(name)
    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "*.md", "LICENSE*"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except PermissionError as error:
        raise ModelError(
            f"the model {name} cannot be saved to the cache",
            seen=f"{error.strerror}: {error.filename}",
            next_step="name a writable folder for downloads from the hub: export HF_HOME=FOLDER",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"cannot get the model {name} from the hub",
            seen=str(error).strip().splitlines()[0],
            next_step=f"check the id and the connection; {instead_of(name)}",
        ) from error


def _check_language(folder: Path, name: str) -> None:
    """Raise if a folder has no language model that can be trained, as far as its files tell."""
    kind = language_kind(folder, name)
    names = {file.name for file in weight_files(folder)}
    if "model.safetensors" not in names and not (folder / "model.safetensors.index.json").is_file():
        raise unusable.misnamed(folder, names)
    check_fit(kind, folder, name)
    check_vocabulary(read_tokenizer(folder, name), kind.config, folder, name)


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Load only the tokenizer. Raises as `read_tokenizer`."""
    return read_tokenizer(source.folder, source.name)


def load_model(source: ModelSource, dtype: torch.dtype | None = torch.float32) -> LoadedModel:
    """Load weights and tokenizer.

    Args:
        dtype: dtype of the weights in memory; None keeps the stored one (as plain `from_pretrained` would). An adapter
            is merged in float32, and the model stays float32; so does one with an assistant or gated adapters.

    Raises:
        ModelError: with the problem of the files.
    """
    tokenizer = load_tokenizer(source)
    kind = language_kind(source.folder, source.name)
    stored = _stored_dtype(kind, source.folder)
    model, info = _load(source, kind, stored if dtype is None else dtype)
    return LoadedModel(model, tokenizer, source, stored, kind.narrow, sorted(info["unexpected_keys"]))


def configuration(source: ModelSource) -> Any:
    """A language model's configuration."""
    return language_kind(source.folder, source.name).config


def load_weights(source: ModelSource, dtype: torch.dtype) -> PreTrainedModel:
    """The model without tokenizer, in CPU memory, with weights of a dtype."""
    return _load(source, language_kind(source.folder, source.name), dtype)[0]


def _load(source: ModelSource, kind: LanguageKind, dtype: torch.dtype) -> tuple[PreTrainedModel, dict[str, Any]]:
    try:
        with quiet(), storage.reading(source.folder):
            model, info = kind.load(source.folder, torch.float32 if source.widened else dtype)
    except (ExpungeError, MemoryError):
        raise
    except Exception as error:
        raise _unloadable(source, kind, error) from error
    check_info(info, source.name, kind.narrow)
    if source.adapter is not None:
        model = merged(model, source.adapter)  # and stays float32: a narrow dtype would round small changes away
    if source.assisted is not None and (source.assisted / GATED).is_file():
        put_gate(model, read_gate(source.assisted))
    elif source.assisted is not None:
        folder = source.assisted / ASSISTANT
        beside = ModelSource(f"{source.name}/{ASSISTANT}", folder, {})
        assistant, _ = _load(beside, language_kind(folder, beside.name), torch.float32)
        put_beside(model, assistant, read_difference(source.assisted))
    model.eval()
    return model, info


def _stored_dtype(kind: LanguageKind, folder: Path) -> torch.dtype:
    """The type that plain `from_pretrained` gives the weights: the configuration's, else that of most of the files."""
    said = kind.config.dtype or getattr(kind.config.get_text_config(), "dtype", None)
    if isinstance(said, torch.dtype):
        return said
    return TYPES.get(majority_type(check_weights(folder)) or "", torch.float32)


def stored_dtype(source: ModelSource) -> torch.dtype:
    """The type that plain `from_pretrained` gives a language model's weights."""
    return _stored_dtype(language_kind(source.folder, source.name), source.folder)


def holds_only(folder: Path, dtype: torch.dtype) -> bool:
    """Whether all weights in a folder are stored in this type."""
    return all(TYPES.get(kind) == dtype for header in check_weights(folder) for kind, _ in header.tensors.values())


def narrow_type(source: ModelSource) -> torch.dtype | None:
    """bfloat16 or float16, where a language model's weights are all stored in it; None otherwise."""
    if source.widened:
        return None
    stored = _stored_dtype(language_kind(source.folder, source.name), source.folder)
    return stored if stored in (torch.bfloat16, torch.float16) and holds_only(source.folder, stored) else None


def _unloadable(source: ModelSource, kind: LanguageKind, error: Exception) -> ModelError:
    if isinstance(error, ImportError):
        return ModelError(
            f"{source.name} needs a package that is not installed",
            seen=first_line(error),
            next_step="install it, and run the same command again",
        )
    return ModelError(
        f"cannot load the model {source.name} with transformers' {kind.auto}, though its files are whole",
        seen=f"{type(error).__name__}: {first_line(error)}",
        next_step=f"try it outside of expunge: {kind.auto}.from_pretrained('{source.folder}')",
    )
