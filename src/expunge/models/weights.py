"""Check weight files by their headers, before any weight is loaded."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import ModelError

LFS = b"version https://git-lfs.github.com/spec/"
"beginning of git-lfs pointer files"
SMALL = 1024
"maximum bytes of such a file"
OF_A_MODEL = (".safetensors", ".json", ".model", ".txt", ".bin", ".gguf")
"endings of files that may be pointers"
LONGEST = 100_000_000
"maximum bytes of a header, by the format"
ADAPTER = (".lora_A.", ".lora_B.", ".lora_embedding_A", ".base_layer.", ".modules_to_save.", ".lora_magnitude_vector")
"parts of the names of weights if an adapter was saved with its base"
AGAIN = "download that file again: hf download ID --local-dir FOLDER, or copy it from a complete copy"


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a safetensors file: (type, shape) of its tensors by name."""

    file: Path
    tensors: dict[str, tuple[str, tuple[int, ...]]]


def check_weights(folder: Path) -> list[Header]:
    """Headers of a model's weight files, checked to be complete by names and sizes.

    Args:
        folder: holds at least one `*.safetensors`.

    Raises:
        ModelError: a shard is missing; a file is cut short, empty, not safetensors, or a git-lfs pointer; or the
            weights have an unmerged adapter.
        StorageError: a file may not be read.
    """
    with storage.reading(folder):
        _check_pointers(folder)
        _check_shards(folder)
        headers = [_read_header(file) for file in weight_files(folder)]
    for header in headers:
        if left := next((name for name in header.tensors if any(part in name for part in ADAPTER)), None):
            raise ModelError(
                f"{header.file} has an adapter that was not merged into its base",
                seen=left,
                allowed="weights under the names of the model itself",
                next_step="load it with peft, then model.merge_and_unload().save_pretrained(FOLDER), and give that folder",
            )
    return headers


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the model itself, without those of an adapter."""
    return [file for file in sorted(folder.glob("*.safetensors")) if not file.name.startswith("adapter_model")]


def _check_pointers(folder: Path) -> None:
    """Raise if a file of `from_pretrained` is only a git-lfs pointer."""
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.name.startswith(".") or file.stat().st_size > SMALL:
            continue
        if file.suffix in OF_A_MODEL and _begins(file).startswith(LFS):
            raise ModelError(
                f"{file} is a git-lfs pointer instead of the file itself",
                seen=f"{file.stat().st_size} bytes that name a git-lfs object",
                next_step=f"fetch the files: git -C {folder} lfs pull, after git lfs install",
            )


def _begins(file: Path) -> bytes:
    with open(file, "rb") as handle:
        return handle.read(64)


def _check_shards(folder: Path) -> None:
    """Compare the shards with the index that lists them."""
    indices = sorted(folder.glob("*.safetensors.index.json"))
    for index in indices:
        try:
            listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{index} is not an index of weight files",
                seen=error,
                allowed="JSON with a weight_map",
                next_step=AGAIN,
            ) from error
        missing = sorted(str(name) for name in listed if not (folder / str(name)).is_file())
        if missing and not (folder / index.name.removesuffix(".index.json")).is_file():
            parts = _unfinished(folder)
            raise ModelError(
                f"{folder} lacks {len(missing)} of the {len(listed)} weight files that {index.name} lists",
                seen="missing: " + ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "") + parts,
                next_step="download the missing ones: hf download ID --local-dir FOLDER resumes where it stopped",
            )
    shards = [file.name for file in weight_files(folder) if "-of-" in file.name]
    if shards and not indices and len(shards) == len(weight_files(folder)):
        raise ModelError(
            f"{folder} holds weights in parts, without the index of which weight is in which part",
            seen=", ".join(shards[:3]) + (", ..." if len(shards) > 3 else ""),
            allowed="model.safetensors.index.json next to them",
            next_step="download the index too",
        )


def _unfinished(folder: Path) -> str:
    endings = (".incomplete", ".part", ".crdownload", ".aria2", ".tmp", ".download")
    found = sorted(file.name for file in folder.iterdir() if file.name.endswith(endings))
    return f"; not finished: {', '.join(found[:3])}" if found else ""


def _read_header(file: Path) -> Header:
    """The header of a safetensors file (https://github.com/huggingface/safetensors, "Format"): 8 bytes of length, JSON.

    Raises:
        ModelError: it is not such a file, or has another size than its header says.
    """
    size = file.stat().st_size
    if size == 0:
        raise ModelError(f"{file} is empty", seen="0 bytes", next_step=AGAIN)
    with open(file, "rb") as handle:
        first = handle.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        text = handle.read(length) if length <= LONGEST else b""
    if 2 <= length <= LONGEST and len(text) < length and text[:1] in (b"{", b""):
        raise _cut_short(file, size, 8 + length)
    try:
        tensors: dict[str, Any] = json.loads(text)
        tensors.pop("__metadata__", None)
        found = {name: (str(each["dtype"]), tuple(map(int, each["shape"]))) for name, each in tensors.items()}
        end = 8 + length + max((int(each["data_offsets"][1]) for each in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(
            f"{file} is not a safetensors file, despite its name", seen=_what_it_is(file), next_step=AGAIN
        ) from error
    if size < end:
        raise _cut_short(file, size, end)
    if size > end:
        raise ModelError(f"{file} is damaged", seen=f"{size} bytes", allowed=f"{end} bytes", next_step=AGAIN)
    return Header(file, found)


def _cut_short(file: Path, size: int, wanted: int) -> ModelError:
    return ModelError(
        f"{file} is cut short: its end is missing",
        seen=f"{size:,} bytes",
        allowed=f"{wanted:,} bytes or more",
        next_step=AGAIN,
    )


def _what_it_is(file: Path) -> str:
    begins = _begins(file)
    if begins.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
        return "a pickle, as torch.save writes it, under another name"
    if begins.startswith(b"GGUF"):
        return "a GGUF file under another name"
    if begins.lstrip()[:1] == b"<":
        return "a web page that was saved in its place"
    return f"it begins with {begins[:16]!r}"


def majority_type(headers: list[Header]) -> str | None:
    """The type that most weights are stored in, in safetensors' names (F32, F16, BF16, ...); None without weights."""
    counts: Counter[str] = Counter()
    for header in headers:
        for kind, shape in header.tensors.values():
            counts[kind] += math.prod(shape)
    return max(counts, key=lambda kind: counts[kind], default=None)
