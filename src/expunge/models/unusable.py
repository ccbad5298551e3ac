"""Errors for files and folders without a usable model: each kind has its own message and next step."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from expunge.errors import ModelError

PICKLES = (r"pytorch_model.*\.bin", r".*\.pt", r".*\.pth", r".*\.ckpt", r"training_args\.bin")
OTHERS = {
    r"tf_model.*\.h5": "TensorFlow",
    r"flax_model.*\.msgpack": "Flax",
    r".*\.onnx": "ONNX",
    r".*\.mlmodel": "Core ML",
    r".*\.mlpackage": "Core ML",
    r".*\.tflite": "TensorFlow Lite",
    r"openvino_model\.xml": "OpenVINO",
    r"rust_model\.ot": "Rust",
    r"__\d+_\d+\.distcp": "torch's distributed checkpoints",
}
"weight files in unsupported formats"
ADAPTER = "adapter_config.json"
"peft's adapter file"
LOADABLE = "a folder with config.json, *.safetensors and the tokenizer's files, as save_pretrained writes it"


def not_a_folder(path: Path) -> ModelError:
    """The error for a model given by a file."""
    name, folder = path.name, path.parent
    if path.suffix.lower() == ".gguf":
        return _gguf(f"{path} is a GGUF file", folder, name)
    if path.suffix == ".safetensors":
        return ModelError(
            f"{path} is a file of weights, not a model folder", allowed=LOADABLE, next_step=f"give its folder: {folder}"
        )
    if any(re.fullmatch(pattern, name) for pattern in PICKLES):
        return _pickled(f"{path} is a pickle, which can run code when it is loaded", name, folder)
    return ModelError(f"{path} is a file, not a model folder", allowed=LOADABLE)


def no_config(folder: Path, starters: Collection[str]) -> ModelError:
    """The error for a folder without `config.json`."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if not names:
        return ModelError(f"{folder} is empty", allowed=LOADABLE, next_step="was the download started? check the path")
    if "adapter_config.json" in names:
        return adapter_only(folder)
    if "model_index.json" in names:
        return ModelError(
            f"{folder} holds a pipeline of diffusers, which is several models",
            seen=", ".join(names[:6]),
            allowed="one model",
            next_step="give the folder of one of them, such as " + str(folder / "unet"),
        )
    if found := [name for name in names if name.lower().endswith(".gguf")]:
        return _gguf(f"{folder} holds a GGUF file and no model that can be trained", folder, found[0])
    if inside := _model_inside(folder):
        return ModelError(
            f"{folder} is not a model folder, but contains one",
            seen="no config.json",
            allowed=LOADABLE,
            next_step=f"give that folder: {inside}",
        )
    if "params.json" in names or "consolidated.safetensors" in names:
        return ModelError(
            f"{folder} holds weights in their publisher's own format, without config.json",
            seen=", ".join(names[:6]),
            allowed=LOADABLE,
            next_step="take the format that transformers reads; on the hub it often has an id that ends in -hf",
        )
    return ModelError(
        f"{folder} has no model: config.json is missing",
        seen=", ".join(names[:6]) + (", ..." if len(names) > 6 else ""),
        next_step="give a folder that from_pretrained reads, a hub id, or a starter model: " + ", ".join(starters),
    )


def _model_inside(folder: Path) -> Path | None:
    """A model one or two folders further down: the last of a trainer's checkpoints, the newest in a hub's cache."""
    found = [file.parent for pattern in ("*/config.json", "snapshots/*/config.json") for file in folder.glob(pattern)]

    def age(place: Path) -> tuple[int, float]:
        number = re.search(r"(\d+)$", place.name) if place.name.startswith("checkpoint") else None
        return int(number[1]) if number else -1, place.stat().st_mtime

    return max(found, key=age, default=None)


def no_weights(folder: Path, names: Collection[str]) -> ModelError:
    """The error for a folder, or a repository of the hub with these file names, without a model's safetensors."""
    if "adapter_config.json" in names and (folder / "adapter_config.json").is_file():
        return adapter_only(folder)
    if pickles := sorted(name for name in names if any(re.fullmatch(pattern, name) for pattern in PICKLES)):
        return _pickled(
            f"{folder} holds its weights only as pickle, which can run code when it is loaded",
            ", ".join(pickles),
            folder,
        )
    if found := sorted(name for name in names if name.lower().endswith(".gguf")):
        return _gguf(f"{folder} holds its weights only as GGUF", folder, found[0])
    for pattern, form in OTHERS.items():
        if found := sorted(name for name in names if re.fullmatch(pattern, Path(name).name)):
            return ModelError(
                f"{folder} has its weights only as {form}",
                seen=", ".join(found[:3]),
                allowed="*.safetensors",
                next_step="take the PyTorch version of the model, as safetensors, or convert it with its own library",
            )
    if "zero_to_fp32.py" in names or any(re.match(r"global_step\d+", name) for name in names):
        return ModelError(
            f"{folder} holds the parts of a DeepSpeed checkpoint, not whole weights",
            seen="zero_to_fp32.py",
            allowed="*.safetensors",
            next_step=f"put them together: python {folder}/zero_to_fp32.py {folder} {folder} --safe_serialization",
        )
    if not_finished := sorted(
        name for name in names if name.endswith((".incomplete", ".part", ".crdownload", ".aria2"))
    ):
        return ModelError(
            f"the weights in {folder} were not completely downloaded",
            seen=", ".join(not_finished[:3]),
            next_step="download again: hf download ID --local-dir FOLDER resumes where it stopped",
        )
    return ModelError(
        f"{folder} has no weights",
        seen=", ".join(sorted(names)[:6]) or None,
        allowed="*.safetensors",
        next_step="download them too: hf download ID --local-dir FOLDER",
    )


def misnamed(folder: Path, files: Collection[str]) -> ModelError:
    """Safetensors under a name that `from_pretrained` does not use."""
    name = sorted(files)[0]
    return ModelError(
        f"{folder} holds safetensors, but none under the name that from_pretrained uses",
        seen=", ".join(sorted(files)[:4]),
        allowed="model.safetensors, or model.safetensors.index.json with the parts that it lists",
        next_step=f"if these are the weights that you mean: mv {folder / name} {folder / 'model.safetensors'}",
    )


def adapter_only(folder: Path, whole: bool = False) -> ModelError:
    """The error for a folder of a peft adapter; `whole` if it also has a whole model."""
    config = read_adapter(folder)
    base = config.get("base_model_name_or_path") or "its base, which adapter_config.json does not name"
    kind = config.get("peft_type") or "unknown kind"
    if whole:
        return ModelError(
            f"{folder} holds a whole model and an adapter: it is not clear which is meant",
            seen=f"model.safetensors, and adapter_config.json (an adapter of kind {kind} for {base})",
            allowed="one or the other",
            next_step="move adapter_config.json and adapter_model.* elsewhere, or merge the adapter into the model first",
        )
    return ModelError(
        f"{folder} holds an adapter, not a whole model",
        seen=f"adapter_config.json: an adapter of kind {kind} for {base}",
        allowed=LOADABLE,
        next_step=(
            'merge it into its base and give that folder: python -c "from peft import AutoPeftModelForCausalLM as M; '
            f"M.from_pretrained('{folder}').merge_and_unload().save_pretrained('MERGED')\"; then copy the base's "
            "tokenizer files to MERGED"
        ),
    )


def read_adapter(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _pickled(what: str, seen: str, folder: Path) -> ModelError:
    return ModelError(
        what,
        seen=seen,
        allowed="*.safetensors",
        next_step=(
            'convert them once, on a machine that you can lose if you do not trust their source: python -c "from '
            f"transformers import AutoModelForCausalLM as M; M.from_pretrained('{folder}', use_safetensors=False)"
            ".save_pretrained('CONVERTED')\"; then copy the tokenizer's files to CONVERTED"
        ),
    )


def _gguf(what: str, folder: Path, name: str) -> ModelError:
    return ModelError(
        what,
        seen=f"{name}: weights for llama.cpp, mostly quantised",
        allowed=LOADABLE,
        next_step=(
            'give the model that it was made from; or turn it into one: python -c "from transformers import '
            f"AutoModelForCausalLM as M, AutoTokenizer as T; m = M.from_pretrained('{folder}', gguf_file='{name}'); "
            "m.hf_quantizer = None; m.save_pretrained('CONVERTED'); "
            f"T.from_pretrained('{folder}', gguf_file='{name}').save_pretrained('CONVERTED')\""
        ),
    )
