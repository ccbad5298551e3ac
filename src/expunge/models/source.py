"""Where a model comes from: a starter's name, a folder, or a Hugging Face id. Safetensors only; no remote code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from expunge import storage
from expunge.errors import ModelError, nearest
from expunge.models.digest import digest_model
from expunge.models.starter import STARTERS, starter_folder

PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model found on disk, before its weights are loaded."""

    name: str
    folder: Path
    digests: dict[str, str]
    "sha256 of every file, by relative path"
    license: str | None = None
    hub_id: str | None = None
    revision: str | None = None

    @property
    def digest(self) -> str:
        """One digest of everything that decides what the model computes (its card is left out)."""
        return storage.digest_value({k: v for k, v in self.digests.items() if not k.endswith(".md")})


@dataclass(slots=True)
class LoadedModel:
    """A model with its tokenizer. Weights are float32 masters whatever type they were stored in."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: ModelSource
    stored_dtype: torch.dtype


def find_model(name: str, revision: str | None = None) -> ModelSource:
    """Find a model by starter name, folder or hub id; checks that it can be used, loads no weights.

    Raises:
        ModelError: not found, weights only as pickle, no causal language model, or code of its own.
    """
    if name in STARTERS:
        starter = STARTERS[name]
        folder = starter_folder(name)
        source = ModelSource(name, folder, digest_model(folder), starter.license, starter.hub_id)
    else:
        source = locate(name, revision)
    _check_causal(source)
    return source


def locate(name: str, revision: str | None = None) -> ModelSource:
    """A model of any kind by folder or hub id, with safetensors in it.

    Raises:
        ModelError: not found, or weights only as pickle.
    """
    if (named := named_folder(name)) is not None:
        _check_folder(named)
        return ModelSource(name, named, digest_model(named))
    if Path(name).exists():
        raise ModelError(f"{name} is a file, not a model folder", allowed="a folder with config.json and *.safetensors")
    folder = _hub_folder(name, revision)
    _check_folder(folder)
    return ModelSource(name, folder, digest_model(folder), None, name, folder.name)


def named_folder(name: str) -> Path | None:
    """Where a model lies that is named by its folder; a run folder stands for the model in it. None: no such folder."""
    folder = Path(name)
    if not folder.is_dir():
        return None
    return folder / "model" if (folder / "model").is_dir() and not (folder / "config.json").is_file() else folder


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} holds no model: config.json is missing",
            next_step="give a folder that from_pretrained reads, a hub id, or a starter model: " + ", ".join(STARTERS),
        )
    if not list(folder.glob("*.safetensors")):
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        if pickles:
            raise ModelError(
                f"{folder} holds its weights only as pickle, which can run code when it is loaded",
                seen=", ".join(pickles),
                allowed="*.safetensors",
                next_step="convert them on a machine you can lose: load there, then save_pretrained(FOLDER)",
            )
        raise ModelError(f"{folder} holds no weights", allowed="*.safetensors")


def _hub_folder(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    near = nearest(name, STARTERS)
    hint = f"did you mean the starter model {near}?" if near else "give a model folder, or a starter: smollm2-135m"
    patterns = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.md", "LICENSE*"]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except HFValidationError as error:
        raise ModelError(f"there is no model {name}: no such folder, and not a hub id", next_step=hint) from error
    except PermissionError as error:
        raise ModelError(
            f"the model {name} cannot be kept",
            seen=f"{error.strerror}: {error.filename}",
            next_step="name a folder that you may write to for what comes from the hub: export HF_HOME=FOLDER",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"cannot get the model {name} from the hub",
            seen=str(error).strip().splitlines()[0],
            next_step=f"check the id and the connection; {hint}",
        ) from error


def _check_causal(source: ModelSource) -> None:
    try:
        raw = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{source.folder / 'config.json'} is not valid JSON", seen=error) from error
    if not isinstance(raw, dict):
        raise ModelError(f"{source.folder / 'config.json'} is no configuration", seen=raw, allowed="a JSON object")
    architectures = raw.get("architectures") or []
    causal = any("CausalLM" in a or "LMHeadModel" in a or "ConditionalGeneration" in a for a in architectures)
    if raw.get("is_encoder_decoder") or (architectures and not causal):
        raise ModelError(
            f"{source.name} is no causal language model",
            seen=", ".join(architectures) or raw.get("model_type"),
            allowed="a decoder that predicts the next token (…ForCausalLM)",
        )
    try:
        AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(
            f"{source.name} is of a kind that the installed transformers does not know without running its own code",
            seen=raw.get("model_type"),
            next_step="upgrade transformers; code that comes with a model is never run",
        ) from error


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """Load the tokenizer alone.

    Raises:
        ModelError: the folder holds none, or one that cannot be read.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
    except Exception as error:
        raise _unloadable("the tokenizer of", source, error) from error
    return tokenizer


def _unloadable(what: str, source: ModelSource, error: Exception) -> ModelError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ModelError(
        f"cannot load {what} {source.name} from {source.folder}",
        seen=lines[0][:300],
        next_step="check the files (a download that broke off?) and load it once with from_pretrained",
    )


def load_model(source: ModelSource, dtype: torch.dtype | None = torch.float32) -> LoadedModel:
    """Load weights and tokenizer.

    Args:
        dtype: type of the weights in memory; None keeps the stored one (as plain `from_pretrained` would).
    """
    tokenizer = load_tokenizer(source)
    transformers_logging.disable_progress_bar()
    try:
        stored = AutoConfig.from_pretrained(source.folder, trust_remote_code=False).dtype or torch.float32
        model, info = AutoModelForCausalLM.from_pretrained(
            source.folder,
            dtype=stored if dtype is None else dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:
        raise _unloadable("the model", source, error) from error
    finally:
        transformers_logging.enable_progress_bar()
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"{source.name} lacks weights, which would be random",
            seen=", ".join(missing[:5]) + (" ..." if len(missing) > 5 else ""),
            next_step="check the files (a shard missing?)",
        )
    model.eval()
    return LoadedModel(model, tokenizer, source, stored)
