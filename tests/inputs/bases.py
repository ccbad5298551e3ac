"""Base models that people have: those that work, and those that are refused from their files alone."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from case import Case
from safetensors.torch import load_file, save_file

from expunge.core import storage
from expunge.errors import DataError, ModelError, RecipeError, StorageError
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.limits import fit_lengths
from expunge.kinds.language.recipe import make_recipe
from expunge.kinds.language.saving import choose_dtype, save_model
from expunge.models.language_kind import language_kind
from expunge.models.source import find_model, load_model
from expunge.train.precision import Precision
from tiny_model import build_tiny_model
from tiny_multimodal import build_tiny_multimodal

Spoil = Callable[[Path], None]


@functools.cache
def tiny() -> Path:
    return build_tiny_model(Path(tempfile.mkdtemp()) / "model")


def copied(place: Path) -> Path:
    return Path(shutil.copytree(tiny(), place / "model"))


def config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def spoiled(spoil: Spoil) -> Callable[[Path], Any]:
    """Find the tiny model after something was done to its folder."""

    def use(place: Path) -> Any:
        folder = copied(place)
        spoil(folder)
        return find_model(str(folder))

    return use


def refused(what: str, spoil: Spoil, *says: str) -> Case:
    return Case(what=what, use=spoiled(spoil), refused=ModelError, says=says)


def only(*names: str, **texts: str) -> Spoil:
    """Leave these files, and add others (`__` in a name stands for a dot)."""

    def spoil(folder: Path) -> None:
        for file in list(folder.iterdir()):
            if file.name not in names:
                file.unlink()
        for name, text in texts.items():
            (folder / name.replace("__", ".")).write_text(text)

    return spoil


def renamed(before: str, after: str) -> Spoil:
    return lambda folder: (folder / before).rename(folder / after) and None


def pointer(name: str) -> Spoil:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    return lambda folder: (folder / name).write_text(text) and None


def quantised(**said: Any) -> Spoil:
    return lambda folder: config(folder, quantization_config=said)


def weights(change: Callable[[dict[str, Any]], None]) -> Spoil:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def unmerged(tensors: dict[str, Any]) -> None:
    name = "model.layers.0.self_attn.q_proj"
    tensors[f"{name}.base_layer.weight"] = tensors.pop(f"{name}.weight")
    tensors[f"{name}.lora_A.default.weight"] = torch.zeros(2, 32)


def sharded(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(tensors)}
    save_file({n: t for n, t in tensors.items() if "00001" in names[n]}, folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def more_tokens(folder: Path) -> None:
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["zz"] = len(vocabulary) + 7
    file.write_text(json.dumps(content))


REFUSED = [
    refused("an empty folder", only(), "is empty"),
    refused("a folder without config.json", only("model.safetensors"), "config.json is missing"),
    refused(
        "an adapter without weights",
        only(adapter_config__json='{"base_model_name_or_path": "org/base", "peft_type": "LORA"}'),
        "has no adapter_model.safetensors",
        "model.save_pretrained",
    ),
    refused(
        "an adapter whose base is not there",
        only(
            adapter_config__json='{"base_model_name_or_path": "org/base", "peft_type": "LORA"}',
            adapter_model__safetensors="x",
        ),
        "the base model of the adapter in",
        "org/base",
        "base_model_name_or_path",
    ),
    refused("an adapter left in the weights", weights(unmerged), "has an adapter that was not merged", "base_layer"),
    refused("a folder of GGUF", only(model__gguf="GGUF"), "holds a GGUF file", "gguf_file='model.gguf'"),
    refused("GGUF beside config.json", only("config.json", q4__gguf="GGUF"), "only as GGUF", "q4.gguf"),
    refused("a pickle", only("config.json", pytorch_model__bin="x"), "only as pickle", "use_safetensors=False"),
    refused("TensorFlow's weights", only("config.json", tf_model__h5="x"), "only as TensorFlow"),
    refused("a download that was stopped", only("config.json", weights__incomplete="x"), "not completely downloaded"),
    refused("weights under another name", renamed("model.safetensors", "weights.safetensors"), "under the name that"),
    refused("a pointer of git-lfs", pointer("model.safetensors"), "a git-lfs pointer", "lfs pull"),
    refused("a tokenizer that is a pointer", pointer("tokenizer.json"), "tokenizer.json is a git-lfs pointer"),
    refused("a shard missing", sharded, "lacks 1 of the 2 weight files", "model-00002-of-00002.safetensors"),
    refused("an empty weight file", lambda f: (f / "model.safetensors").write_bytes(b"") and None, "is empty"),
    refused(
        "a web page for weights", lambda f: (f / "model.safetensors").write_text("<html>" * 9) and None, "a web page"
    ),
    refused(
        "weights of another size",
        weights(lambda t: t.update({"model.norm.weight": torch.ones(16)})),
        "have other shapes",
        "model.norm.weight of (16,)",
    ),
    refused("a model without its head", lambda f: config(f, tie_word_embeddings=False), "no head that predicts tokens"),
    refused("GPTQ", quantised(quant_method="gptq", bits=4), "is quantised", "GPTQ, 4 bits"),
    refused("AWQ", quantised(quant_method="awq", bits=4), "is quantised", "AWQ"),
    refused("bitsandbytes", quantised(load_in_4bit=True), "bitsandbytes, 4 bits", "dequantize()"),
    refused("compressed-tensors", quantised(quant_method="compressed-tensors"), "compressed-tensors"),
    refused("a rewarding model", lambda f: config(f, architectures=["LlamaForSequenceClassification"]), "sorts texts"),
    refused("an encoder", lambda f: config(f, model_type="bert", architectures=["BertForMaskedLM"]), "it fills gaps"),
    refused("an encoder and decoder", lambda f: config(f, model_type="t5", architectures=[]), "encoder that reads"),
    refused("a kind that is not known", lambda f: config(f, model_type="llama9"), "does not know", "llama9"),
    refused(
        "code of its own",
        lambda f: config(f, model_type="own", auto_map={"AutoConfig": "c.C"}),
        "without running its own code",
    ),
    refused("no tokenizer", lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer", "but no vocabulary"),
    refused("a tokenizer of more tokens", more_tokens, "has tokens that the model does not know", "'zz'"),
]


def file_of_gguf(place: Path) -> Any:
    (place / "m.gguf").write_bytes(b"GGUF")
    return find_model(str(place / "m.gguf"))


def fp8(place: Path) -> Any:
    """Weights of 8 bits with a scale a block, as DeepSeek's are; moved a little, and saved."""
    folder = copied(place)
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if "proj" in name]:
        weight = tensors[name]
        scale = weight.abs().max() / 448
        tensors[name] = (weight / scale).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale.reshape(1, 1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    said = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    config(folder, quantization_config=said, dtype="bfloat16")
    return moved(folder, place)


def mixture(place: Path) -> Any:
    """Experts that the files hold one by one, and the model as one tensor."""
    from transformers import MixtralConfig, MixtralForCausalLM

    folder = copied(place)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    made = MixtralConfig(vocab_size=398, num_key_value_heads=1, num_local_experts=4, **shape)
    MixtralForCausalLM(made).to(torch.bfloat16).save_pretrained(folder)
    return moved(folder, place, 0.05)


def moved(folder: Path, place: Path, size: float = 1e-5) -> Any:
    loaded = load_model(find_model(str(folder)))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.add_(torch.randn_like(weight) * size)
    dtype, warning = choose_dtype(loaded, "auto")
    save_model(loaded, place / "saved", dtype)
    again = load_model(find_model(str(place / "saved")))
    same = all(
        torch.equal(weight.to(dtype).float(), other)
        for weight, other in zip(loaded.model.parameters(), again.model.parameters(), strict=True)
    )
    return dtype, warning or "", same, json.loads((place / "saved" / "config.json").read_text())


def check_fp8(found: Any) -> None:
    dtype, warning, same, said = found
    assert (dtype, same) == (torch.float32, True)
    assert "rounding to the base model's bfloat16 would undo" in warning
    assert "stored as FP8; its weights were widened" in warning
    assert "quantization_config" not in said


def check_mixture(found: Any) -> None:
    assert found[:3] == (torch.bfloat16, "", True)


def multimodal(kind: str) -> Callable[[Path], Any]:
    def use(place: Path) -> Any:
        folder = build_tiny_multimodal(kind, tiny(), place / kind, "bfloat16")
        task = LazyModel(find_model(str(folder)), Precision(False))()
        ids = torch.tensor([[1, 3, 9, 7], [1, 3, 9, 8]])
        first, second = task.model(input_ids=ids).logits[:, :3]
        assert torch.allclose(first, second, atol=1e-6), "a later token changes nothing before it"
        loaded = load_model(find_model(str(folder)))
        save_model(loaded, place / "saved", torch.bfloat16)
        names = {file.name for file in (place / "saved").iterdir()}
        saved = language_kind(place / "saved", "saved")
        again = load_model(find_model(str(place / "saved")))
        whole = dict(again.model.named_parameters()).keys() == dict(loaded.model.named_parameters()).keys()
        return (
            names,
            saved.auto,
            type(again.model).__name__,
            whole,
            json.loads((place / "saved/config.json").read_text()),
        )

    return use


def check_multimodal(found: Any) -> None:
    names, _, model, whole, said = found
    assert names >= {"processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"}
    assert model.endswith("ForConditionalGeneration")
    assert whole
    assert said["dtype"] == "bfloat16"


def half_with_layer_norm(place: Path) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = copied(place)
    torch.manual_seed(0)
    made = GPT2Config(vocab_size=398, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(made).half().save_pretrained(folder)
    lazy = LazyModel(find_model(str(folder)), Precision(True), as_stored=True)
    task, logits = lazy(), []
    long = [list(range(3, 120))]
    said = list(task.generate(long, 40))
    for held in (lazy, lazy.to_train):
        with held().autocast():
            logits.append(task.model(input_ids=torch.tensor([[1, 3, 9]])).logits)
    weight = task.model.transformer.h[0].mlp.c_fc.weight
    assert torch.equal(weight, weight.half().float()), "rounded as stored"
    return folder, logits, weight.dtype, said, task.notices


def check_half(found: Any) -> None:
    _, logits, dtype, said, notices = found
    assert bool(logits[0].isfinite().all())
    assert torch.equal(*logits), "narrow weights say what wide ones say"
    assert dtype == torch.float32
    assert len(said) == 1
    assert notices == [
        "answers have at most 32 tokens and not 40: the model takes 64 in all",
        "1 prompts lost their beginning: with its answer the model takes 64 tokens",
    ]


def short(**data: int) -> Callable[[Path], Any]:
    def use(place: Path) -> Any:
        folder = copied(place)
        config(folder, max_position_embeddings=100)
        recipe = make_recipe(
            {"model": str(folder), "forget": "x"}, {f"data.{name}": value for name, value in data.items()}
        )
        return fit_lengths(recipe, find_model(str(folder)))

    return use


def check_short(found: Any) -> None:
    recipe, notices = found
    assert recipe.data.block_size == 100
    assert notices == ["blocks have 100 tokens and not 512 (data.block_size): the model takes no more"]


def padding_beyond(place: Path) -> Any:
    """A padding token that was added without a row in the embedding: it is used by no text."""
    from transformers import AutoTokenizer

    folder = copied(place)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    task = LazyModel(find_model(str(folder)), Precision(False))()
    assert len(list(task.generate([[5, 6]], 3))) == 1
    return task.encode_prompt("a [PAD] b")


def umask(place: Path) -> Any:
    before = os.umask(0o027)
    try:
        loaded = load_model(find_model(str(copied(place))))
        save_model(loaded, place / "saved", torch.float32)
        storage.write_text(place / "record.json", "{}")
    finally:
        os.umask(before)
    files = [*(place / "saved").iterdir(), place / "record.json"]
    return {f.stat().st_mode & 0o777 for f in files}, (place / "saved").stat().st_mode & 0o777


def check_umask(found: Any) -> None:
    assert found == ({0o640}, 0o750)


def unreadable(place: Path) -> Any:
    folder = copied(place)
    (folder / "model.safetensors").chmod(0)
    parents = [(each, each.stat().st_mode) for each in folder.parents if each.is_relative_to(tempfile.gettempdir())]
    if os.geteuid():
        return find_model(str(folder))
    for each, mode in parents:
        each.chmod(mode | 0o755)
    os.seteuid(65534)
    try:
        return find_model(str(folder))
    finally:
        os.seteuid(0)
        for each, mode in parents:
            each.chmod(mode)


CASES = [
    *REFUSED,
    Case(what="a file of GGUF", use=file_of_gguf, refused=ModelError, says=("is a GGUF file", "gguf_file='m.gguf'")),
    Case(what="FP8, moved by less than bfloat16 holds", use=fp8, expect=check_fp8),
    Case(what="a mixture of experts in bfloat16", use=mixture, expect=check_mixture),
    *(
        Case(what=f"text and pictures: {kind}", use=multimodal(kind), expect=check_multimodal)
        for kind in ("llava", "qwen2_vl", "gemma3", "paligemma", "smolvlm")
    ),
    Case(what="float16 with layer norms, and a long prompt", use=half_with_layer_norm, expect=check_half),
    Case(what="a model of few positions", use=short(), expect=check_short),
    Case(
        what="blocks longer than the positions",
        use=short(block_size=128),
        refused=RecipeError,
        says=("blocks are longer", "data.block_size 128", "at most 100 tokens"),
    ),
    Case(
        what="a padding token beyond the embedding",
        use=padding_beyond,
        refused=DataError,
        says=("a token that the model does not have", "[PAD]"),
    ),
    Case(what="files under a umask", use=umask, expect=check_umask),
    Case(
        what="weights that may not be read",
        use=unreadable,
        refused=StorageError,
        says=("cannot read", "Permission denied", "chmod"),
    ),
]
