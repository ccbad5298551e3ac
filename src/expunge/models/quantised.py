"""Weights in a narrow format: which are widened when they are loaded, and which cannot be trained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from expunge.errors import ModelError

WIDENED = {"fp8": "FP8", "mxfp4": "MXFP4"}
"formats that transformers turns back into plain weights on any machine, without a further package"
NAMES = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "gguf": "GGUF",
    "hqq": "HQQ",
    "aqlm": "AQLM",
    "quanto": "Quanto",
    "eetq": "EETQ",
    "auto-round": "AutoRound",
    "bitnet": "BitNet",
    "fbgemm_fp8": "FBGEMM FP8",
    "modelopt": "ModelOpt",
    "nvfp4": "NVFP4",
    "mlx": "MLX",
    "exl2": "EXL2",
}
"a format's usual spelling, if its `quant_method` differs"
WIDEN = (
    "; or widen it where bitsandbytes runs: AutoModelForCausalLM.from_pretrained(FOLDER).dequantize()"
    ".save_pretrained(WIDE)"
)


def check_quantised(folder: Path, name: str, raw: dict[str, Any]) -> str | None:
    """The name of the narrow format that is widened in loading; None for plain weights (`raw`: config.json).

    Raises:
        ModelError: weights in a format that cannot be trained.
    """
    found = quantisation(folder, raw)
    if found is None:
        return None
    method, bits = found
    if method in WIDENED:
        return WIDENED[method]
    format_ = NAMES.get(method, method)
    instead = WIDEN if method == "bitsandbytes" else ""
    raise ModelError(
        f"{name} is quantised, and quantised weights cannot be trained",
        seen=format_ + (f", {bits} bits" if bits else ""),
        allowed="weights in float32, bfloat16 or float16; or in FP8 or MXFP4, which are widened when they are loaded",
        next_step=f"give the model that it was made from{_original(folder, raw)}" + instead,
    )


def quantisation(folder: Path, raw: dict[str, Any]) -> tuple[str, int | None] | None:
    """(method, bits) of quantisation from the folder; None if there is none."""
    parts = [raw, *(value for value in raw.values() if isinstance(value, dict))]
    for part in parts:
        said = part.get("quantization_config") or part.get("compression_config")
        if isinstance(said, dict) and said:
            return _method(said), _bits(said)
    # Other tools write a separate file, or a short entry in config.json.
    for file, method in (
        ("quantize_config.json", "gptq"),
        ("quant_config.json", "awq"),
        ("hf_quant_config.json", "modelopt"),
    ):
        if (folder / file).is_file():
            try:
                said = json.loads((folder / file).read_text(encoding="utf-8"))
            except ValueError:
                said = {}
            return method, _bits(said if isinstance(said, dict) else {})
    said = raw.get("quantization")
    return ("mlx", _bits(said)) if isinstance(said, dict) and "group_size" in said else None


def _method(said: dict[str, Any]) -> str:
    method = str(said.get("quant_method") or "").lower()
    unnamed = not method and (said.get("load_in_4bit") or said.get("load_in_8bit"))
    if unnamed or method.startswith("bitsandbytes"):
        return "bitsandbytes"
    return method or "an unnamed method"


def _bits(said: dict[str, Any]) -> int | None:
    if said.get("load_in_4bit"):
        return 4
    if said.get("load_in_8bit"):
        return 8
    found = said.get("bits") or said.get("w_bit")
    return found if isinstance(found, int) else None


def _original(folder: Path, raw: dict[str, Any]) -> str:
    """The model it was made from, if its card or configuration has it."""
    card = folder / "README.md"
    if card.is_file():
        text = card.read_text(encoding="utf-8", errors="replace")[:4000]
        if found := re.search(r"^base_model:\s*(?:\n\s*-\s*)?['\"]?([\w.-]+/[\w.-]+)", text, re.MULTILINE):
            return f", {found[1]}"
    before = raw.get("_name_or_path")
    return f", {before}" if isinstance(before, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", before) else ""
