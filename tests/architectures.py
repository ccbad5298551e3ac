"""Tiny models with random weights of the families that transformers offers, built without a download in milliseconds."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

WIDTH = 32
VOCABULARY = 96
TINY: dict[str, Any] = {
    **dict.fromkeys(["hidden_size", "n_embd", "d_model", "word_embed_proj_dim", "attention_hidden_size"], WIDTH),
    **dict.fromkeys(["intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"], 48),
    **dict.fromkeys(["moe_intermediate_size", "shared_expert_intermediate_size"], 24),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers"], 2),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"], 4),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"], 64),
    **dict.fromkeys(["num_local_experts", "num_experts", "n_routed_experts"], 4),
    **dict.fromkeys(["q_lora_rank", "kv_lora_rank"], 16),
    **dict.fromkeys(["qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "head_dim", "rotary_dim"], 8),
    **dict.fromkeys(["state_size", "mamba_d_state"], 8),
    **dict.fromkeys(["time_step_rank", "mamba_dt_rank"], 4),
    **dict.fromkeys(["n_group", "topk_group", "first_k_dense_replace"], 1),
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "vocab_size": VOCABULARY,
    "sliding_window": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"fields of configurations by all the names that they go by"
OWN: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "mpt": {"expansion_ratio": 2},
    "mamba2": {"head_dim": 16, "n_groups": 1, "chunk_size": 8},
    "falcon_h1": {
        **{"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1},
        **{"mamba_d_state": 8, "mamba_chunk_size": 8},
    },
    "deepseek_v2": {"num_key_value_heads": 4},
    "deepseek_v3": {"num_key_value_heads": 4},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
}
"what a family needs besides"
DENSE = (
    *(
        "apertus",
        "arcee",
        "biogpt",
        "bitnet",
        "bloom",
        "codegen",
        "cohere",
        "cohere2",
        "diffllama",
        "ernie4_5",
        "exaone4",
    ),
    *(
        "falcon",
        "gemma",
        "glm",
        "glm4",
        "gpt2",
        "gpt_bigcode",
        "gpt_neo",
        "gpt_neox",
        "gpt_neox_japanese",
        "gptj",
        "granite",
    ),
    *(
        "helium",
        "llama",
        "ministral",
        "mistral",
        "mpt",
        "nanochat",
        "nemotron",
        "olmo",
        "opt",
        "persimmon",
        "phi",
        "phi3",
    ),
    *("qwen2", "qwen3", "seed_oss", "smollm3", "stablelm", "starcoder2", "xglm"),
)
POST_NORM = ("gemma2", "gemma3_text", "olmo2", "olmo3", "vaultgemma")
"the output of attention and MLP is normed before it is added"
EXPERTS = (
    *("dbrx", "deepseek_v3", "ernie4_5_moe", "glm4_moe", "gpt_oss", "granitemoe", "jetmoe", "minimax_m2", "mixtral"),
    *("olmoe", "phimoe", "qwen2_moe", "qwen3_moe"),
)
RECURRENT = ("falcon_mamba", "jamba", "lfm2", "mamba", "mamba2", "recurrent_gemma")
NORMED_STREAM = ("bert", "openai-gpt", "roberta", "rwkv")
"models that norm or gate the stream itself"


def tiny_model(family: str, seed: int = 0, **fields: Any) -> PreTrainedModel:
    """A model of a family, in evaluation mode, with every weight random: norms and biases too."""
    kind = CONFIG_MAPPING[family]
    known = {*inspect.signature(kind).parameters, *getattr(kind, "attribute_map", {})}
    if dataclasses.is_dataclass(kind):
        known |= {field.name for field in dataclasses.fields(kind)}
    wanted = {name: value for name, value in (TINY | OWN.get(family, {})).items() if name in known}
    return randomised(AutoModelForCausalLM.from_config(kind(**wanted | fields)), seed)


def tiny_multimodal(family: str) -> PreTrainedModel:
    """A vision-language model whose vision tower has as many layers as its text tower, and comes first."""
    text = {
        name: TINY[name]
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim")
    } | {"num_key_value_heads": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 64}
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 16,
        "patch_size": 8,
    }
    ids = {"image_token_index": 90, "image_token_id": 90}
    texts = {
        "llava": "llama",
        "idefics3": "llama",
        "gemma3": "gemma3_text",
        "mistral3": "mistral",
        "paligemma": "gemma",
    }
    towers = {"llava": "clip_vision_model", "gemma3": "siglip_vision_model", "paligemma": "siglip_vision_model"}
    towers |= {"mistral3": "pixtral", "idefics3": "idefics3_vision"}
    fields: dict[str, Any] = {
        "text_config": CONFIG_MAPPING[texts[family]](**text),
        "vision_config": CONFIG_MAPPING[towers[family]](**vision) if towers[family] in CONFIG_MAPPING else vision,
    }
    kind = CONFIG_MAPPING[family]
    known = {*inspect.signature(kind).parameters}
    config = kind(**fields, **{name: value for name, value in ids.items() if name in known})
    from transformers import AutoModelForImageTextToText

    return randomised(AutoModelForImageTextToText.from_config(config), 0)


def randomised(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "A_log" not in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
            elif "A_log" not in name and "dt" not in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
