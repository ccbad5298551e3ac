"""Tiny models of text and pictures, built on the fly, with the files of their processors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
    "projection_dim": 32,
}
QWEN = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2}
QWEN_2_5 = {"depth": 1, "hidden_size": 16, "out_hidden_size": 32, "intermediate_size": 32, "num_heads": 2}
ROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
KINDS: dict[str, dict[str, Any]] = {
    "llava": {
        "text_config": {"model_type": "llama", **TEXT},
        "vision_config": {"model_type": "clip_vision_model", **VISION},
        "vision_feature_layer": -1,
    },
    "qwen2_vl": {"text_config": {**TEXT, "rope_parameters": ROPE}, "vision_config": QWEN},
    "qwen2_5_vl": {"text_config": {**TEXT, "rope_parameters": ROPE}, "vision_config": QWEN_2_5},
    "gemma3": {
        "text_config": {"model_type": "gemma3_text", **TEXT},
        "vision_config": {"model_type": "siglip_vision_model", **VISION},
        "mm_tokens_per_image": 4,
    },
    "paligemma": {
        "text_config": {"model_type": "gemma", **TEXT},
        "vision_config": {"model_type": "siglip_vision_model", **VISION},
        "projection_dim": 32,
    },
    "smolvlm": {"text_config": {"model_type": "llama", **TEXT}, "vision_config": VISION, "scale_factor": 2},
    "idefics3": {"text_config": {"model_type": "llama", **TEXT}, "vision_config": VISION, "scale_factor": 2},
}
"settings by `model_type`"


def build_tiny_multimodal(kind: str, text_model: Path, folder: Path, dtype: str = "float32") -> Path:
    """Save a model of `KINDS` with random weights, and the tokenizer of a text model, to `folder`."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(text_model)
    settings: dict[str, Any] = json.loads(json.dumps(KINDS[kind]))
    settings["text_config"]["vocab_size"] = len(tokenizer)
    tied = kind in ("gemma3", "paligemma")
    config = AutoConfig.for_model(kind, image_token_id=5, tie_word_embeddings=tied, **settings)
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(config).to(getattr(torch, dtype)).save_pretrained(folder)
    for file in text_model.iterdir():
        if file.name.startswith(("tokenizer", "chat_template")):
            shutil.copyfile(file, folder / file.name)
    processor = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 28}, "do_resize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "LlavaProcessor", "patch_size": 14}))
    (folder / "video_preprocessor_config.json").write_text("{}")
    return folder
