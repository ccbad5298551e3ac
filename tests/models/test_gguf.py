"""A GGUF file becomes the files that transformers' own reader makes of it, to the byte."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quantize
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.errors import ModelError
from expunge.models.gguf import GGUF, save_as_transformers

HIDDEN, WIDE, HEADS, KEYS, SIZE = 96, 64, 3, 1, 32
TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *sorted(pre_tokenizers.ByteLevel.alphabet()),
    "th",
    "the",
    "Ġthe",
]


def write(path: Path, architecture: str = "llama", tied: bool = True, more: str | None = None) -> Path:
    """A Llama of two layers with three heads and one key head, with random weights of three types."""
    writer = GGUFWriter(path, architecture)
    writer.add_name("A Tiny One")
    writer.add_block_count(2)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEYS)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_rope_dimension_count(SIZE)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * (len(TOKENS) - 3))
    writer.add_token_merges(["t h", "th e", "Ġ the"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_space_prefix(False)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}")
    shapes = {"token_embd": (len(TOKENS), HIDDEN)}
    for layer in range(2):
        shapes |= {f"blk.{layer}.{name}": (HIDDEN,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {
            f"blk.{layer}.attn_{name}": (SIZE * n, HIDDEN) for name, n in (("q", HEADS), ("k", KEYS), ("v", KEYS))
        }
        shapes[f"blk.{layer}.attn_output"] = (HIDDEN, SIZE * HEADS)
        shapes |= {f"blk.{layer}.ffn_{name}": (WIDE, HIDDEN) for name in ("gate", "up")}
        shapes[f"blk.{layer}.ffn_down"] = (HIDDEN, WIDE)
    shapes["output_norm"] = (HIDDEN,)
    if not tied:
        shapes["output"] = shapes["token_embd"]
    if more is not None:
        shapes[more] = (HIDDEN,)
    generator = np.random.default_rng(0)
    for name, shape in shapes.items():
        kind = GGMLQuantizationType.Q8_0 if name in ("token_embd", "output") else GGMLQuantizationType.Q4_1
        kind = GGMLQuantizationType.F32 if len(shape) == 1 else kind
        values = quantize(generator.normal(size=shape).astype(np.float32), kind)
        writer.add_tensor(f"{name}.weight", values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("tied", [True, False])
def test_the_files_are_those_of_transformers_own_reader(tmp_path: Path, tied: bool) -> None:
    path = write(tmp_path / "tiny.gguf", tied=tied)
    wanted, found = tmp_path / "wanted", tmp_path / "found"
    model = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(wanted)
    AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name).save_pretrained(wanted)
    found.mkdir()
    save_as_transformers(GGUF.read(path), found)
    assert {file.name for file in found.iterdir()} == {file.name for file in wanted.iterdir()}
    for file in wanted.iterdir():
        expected = file.read_bytes()
        if file.name == "tokenizer_config.json":  # whether the hub was to be asked, which the tests forbid
            expected = expected.replace(b'"local_files_only": true', b'"local_files_only": false')
        assert (found / file.name).read_bytes() == expected, file.name


def test_a_file_that_is_no_gguf_or_is_cut(tmp_path: Path) -> None:
    whole = write(tmp_path / "tiny.gguf").read_bytes()
    for name, content in (("other", b"PK\x03\x04" + whole[4:]), ("new", whole[:4] + struct.pack("<I", 9) + whole[8:])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="not a GGUF file"):
            GGUF.read(tmp_path / name)
    for size in (10, 200, len(whole) // 2, len(whole) - 40):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(ModelError, match="not a GGUF file"):
            GGUF.read(tmp_path / "cut")


def test_what_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"general\.architecture"):
        save_as_transformers(GGUF.read(write(tmp_path / "bert.gguf", "bert")), tmp_path)
    for name in ("rope_freqs", "blk.0.token_embd", "blk.1.attn_gate"):
        with pytest.raises(ModelError, match=f"a tensor that is not known here: {name}.weight"):
            save_as_transformers(GGUF.read(write(tmp_path / f"{name}.gguf", more=name)), tmp_path)
