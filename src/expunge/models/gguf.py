"""Convert GGUF files of Llama models to what plain transformers loads.

transformers reads such files, too, but three times and value by value, which takes most of its time. The results are
the same to the byte.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expunge.errors import ModelError

ALIGNMENT = 32
"alignment in bytes if the file does not give it (`general.alignment`)"
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"struct's letter of each type of value"
_STRING, _ARRAY = 8, 9
_CONTROL = 3
"the type of a token without text"
_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"modules of a layer: by their names in GGUF, those of transformers"
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True, slots=True)
class GGUF:
    """A file of this form (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3).

    Attributes:
        fields: values by name. tensors: by name (shape in torch's order, ggml's number of the type, the bytes).
    """

    fields: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], int, np.ndarray]]

    @classmethod
    def read(cls, path: Path) -> GGUF:
        """Read a file; the tensors' bytes stay on the disk until needed.

        Raises:
            ModelError: it is not such a file, or ends too early.
        """
        try:
            return cls._read(np.memmap(path, np.uint8, "r"))
        except (struct.error, IndexError, KeyError, ValueError) as error:
            raise ModelError(f"{path} is not a GGUF file that can be read", seen=str(error)) from error

    @classmethod
    def _read(cls, content: np.ndarray) -> GGUF:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        at = _Reader(content.data)
        magic, version = bytes(content[:4]), at.skip(4).number("I")
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"it begins with {magic!r}, version {version}")
        tensors, fields = at.number("Q"), at.number("Q")
        known = {at.string(): at.value(at.number("I")) for _ in range(fields)}
        rows = []
        for _ in range(tensors):
            name, shape = at.string(), at.numbers("Q", at.number("I"))
            rows.append((name, tuple(reversed(shape)), at.number("I"), at.number("Q")))
        alignment = known.get("general.alignment", ALIGNMENT)
        data = -(-at.place // alignment) * alignment
        found = {}
        for name, shape, kind, place in rows:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
            stored = (*shape[:-1], shape[-1] // block * size)
            count = int(np.prod(stored))
            found[name] = shape, kind, content[data + place : data + place + count].reshape(stored)
        return cls(known, found)


class _Reader:
    """Values one after the other, in little-endian order."""

    def __init__(self, content: memoryview) -> None:
        self.content, self.place = content, 0

    def skip(self, size: int) -> _Reader:
        self.place += size
        return self

    def numbers(self, letter: str, count: int) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{count}{letter}", self.content, self.place)
        self.place += struct.calcsize(f"<{count}{letter}")
        return found

    def number(self, letter: str) -> Any:
        return self.numbers(letter, 1)[0]

    def string(self) -> str:
        size = self.number("Q")
        found = bytes(self.content[self.place : self.place + size]).decode()
        self.place += size
        return found

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.number(_NUMBERS[kind])
        inner, count = self.number("I"), self.number("Q")
        if inner in (_STRING, _ARRAY):
            return [self.value(inner) for _ in range(count)]
        return list(self.numbers(_NUMBERS[inner], count))


def save_as_transformers(file: GGUF, folder: Path) -> None:
    """Write a Llama model with a byte-level tokenizer to a folder, as float32: weights, settings, tokenizer.

    Raises:
        ModelError: it is another architecture, or has another tokenizer or other tensors.
    """
    from safetensors.numpy import save_file
    from transformers import GenerationConfig

    for name, wanted in (("general.architecture", "llama"), ("tokenizer.ggml.model", "gpt2")):
        if file.fields.get(name) != wanted:
            raise ModelError(f"the GGUF file's {name} is not known here", seen=file.fields.get(name), allowed=wanted)
    config = _config(file)
    save_file(_weights(file), folder / "model.safetensors", {"format": "pt"})
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    _tokenizer(file).save_pretrained(folder)


def _config(file: GGUF) -> Any:
    from transformers import LlamaConfig

    of = file.fields
    return LlamaConfig(
        **{name: of[f"tokenizer.ggml.{key}"] for name, key in (
            ("bos_token_id", "bos_token_id"), ("eos_token_id", "eos_token_id"),
            ("unk_token_id", "unknown_token_id"), ("pad_token_id", "padding_token_id"),
        ) if f"tokenizer.ggml.{key}" in of},
        _model_name_or_path=of["general.name"],
        architectures=["LlamaForCausalLM"],
        dtype="float32",
        head_dim=of["llama.rope.dimension_count"],
        hidden_size=of["llama.embedding_length"],
        intermediate_size=of["llama.feed_forward_length"],
        max_position_embeddings=of["llama.context_length"],
        num_attention_heads=of["llama.attention.head_count"],
        num_hidden_layers=of["llama.block_count"],
        num_key_value_heads=of["llama.attention.head_count_kv"],
        rms_norm_eps=of["llama.attention.layer_norm_rms_epsilon"],
        rope_theta=of["llama.rope.freq_base"],
        tie_word_embeddings="output.weight" not in file.tensors,
        vocab_size=of["llama.vocab_size"],
    )  # fmt: skip


def _weights(file: GGUF) -> dict[str, np.ndarray]:
    from gguf import dequantize
    from gguf.constants import GGMLQuantizationType

    heads = {
        name: file.fields[f"llama.attention.head_count{more}"] for name, more in (("attn_q", ""), ("attn_k", "_kv"))
    }
    found = {}
    for name, (shape, kind, stored) in file.tensors.items():
        match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", name)
        names = _OUTSIDE if match is None or match[1] is None else _NAMES
        if match is None or match[2] not in names:
            raise ModelError(f"the GGUF file has a tensor that is not known here: {name}")
        values = dequantize(stored, GGMLQuantizationType(kind)).reshape(shape)
        if match[2] in heads:
            # llama.cpp rotates neighbours, transformers a head's halves: rows of heads are in another order.
            values = values.reshape(heads[match[2]], -1, 2, shape[1]).swapaxes(1, 2).reshape(shape)
        layer = "" if match[1] is None else f"model.layers.{match[1]}."
        found[f"{layer}{names[match[2]]}.weight"] = np.ascontiguousarray(values)
    return found


def _tokenizer(file: GGUF) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    of = {name.removeprefix("tokenizer."): value for name, value in file.fields.items()}
    tokens = of["ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in of["ggml.merges"]]
    places = {token: place for place, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(places, merges, continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    kinds = of.get("ggml.token_type", [])
    control = [token for token, kind in zip(tokens, kinds, strict=False) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    named = {
        f"{name}_token": tokens[of[f"ggml.{key}_token_id"]]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
        if f"ggml.{key}_token_id" in of
    }
    # What AutoTokenizer notes of where it found a tokenizer is part of the model's digest.
    found = PreTrainedTokenizerFast(tokenizer_object=tokenizer, is_local=True, local_files_only=False, **named)
    found.chat_template = of.get("chat_template")
    return found
