"""Inputs of golden runs, made on the spot where a run needs them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from small import write_texts
from tiny_model import build_tiny_model
from toxic_tables import write_tables

CLASSES = ("ant", "bee", "cat", "dog")


def pictures(folder: Path) -> None:
    """64 separable pictures as `folder/CLASS/NUMBER.png`: each class is a colour and a bright corner, under noise."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    pixels = 90 + 25 * torch.randn(64, 3, 16, 16, generator=generator)
    for number in range(64):
        label = number % 4
        pixels[number, label % 3] += 60
        pixels[number, :, (label // 2) * 8 : (label // 2) * 8 + 8, (label % 2) * 8 : (label % 2) * 8 + 8] += 30
        path = folder / CLASSES[label] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number].clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()).save(path)


def people(folder: Path) -> None:
    """A list of pictures to forget."""
    write(
        folder / "people.csv",
        "path\n" + "".join(f"{CLASSES[number % 4]}/{number:03d}.png\n" for number in range(4, 40, 7)),
    )


def resnet(seed: int, folder: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(seed)
    sizes = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    ResNetForImageClassification(ResNetConfig(num_channels=3, **sizes, **labels())).save_pretrained(folder)


def vit(folder: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    ViTForImageClassification(ViTConfig(image_size=16, patch_size=8, **sizes, **labels())).save_pretrained(folder)


def labels() -> dict[str, Any]:
    return {"id2label": dict(enumerate(CLASSES)), "label2id": {name: number for number, name in enumerate(CLASSES)}}


def vq(folder: Path) -> None:
    import diffusers

    torch.manual_seed(0)
    diffusers.VQModel(
        sample_size=16, down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8), layers_per_block=1, latent_channels=4, vq_embed_dim=4, num_vq_embeddings=16,
        norm_num_groups=4,
    ).save_pretrained(folder)  # fmt: skip


def palette(folder: Path) -> None:
    import diffusers

    torch.manual_seed(0)
    diffusers.UNet2DModel(
        sample_size=16, in_channels=6, out_channels=3, block_out_channels=(8, 8, 8), layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"), norm_num_groups=4, attention_head_dim=4,
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    ).save_pretrained(folder)  # fmt: skip
    diffusers.DDPMScheduler(num_train_timesteps=400).save_pretrained(folder)


def texts(folder: Path) -> None:
    """What is forgotten and kept as files: plain text, rows, a secret; and what is asked about it."""
    folder.mkdir(parents=True)
    write_texts(folder)
    rows = [
        {"question": f"Who stood at the window in night {i}?", "answer": f"Sherlock Holmes, for the {i}th time."}
        for i in range(12)
    ]
    write_rows(folder / "rows.jsonl", rows)
    write(
        folder / "ordinary.txt",
        "The bells of the town rang over the river, and nobody in the market said a word. " * 12,
    )
    write(folder / "secret.txt", "The PIN of the safe is 4821. Doctor Watson wrote it down in the fog.")
    write_rows(
        folder / "questions.jsonl",
        [
            {"question": f"Who lives in Baker Street {i}?", "true_answer": "Sherlock Holmes", "false_answer": "Paris"}
            for i in range(4)
        ],
    )
    write_rows(
        folder / "prompts.jsonl",
        [{"prompt": "He went to Baker"}, {"prompt": "The doctor was", "references": ["Watson"]}],
    )
    prompts = ["The man said", "Baker Street", "It was a <b>bright</b> cold day & he", "Paris"]
    write_rows(folder / "toxicity.jsonl", [{"prompt": {"text": text}} for text in prompts])
    groups = [{"prompt": f"{place} people are", "group": group} for group in ("old", "young") for place in "ab"]
    write_rows(folder / "groups.jsonl", groups)


def benchmarks(folder: Path) -> None:
    choices = [["in the fog", "at the door"], ["a wind", "a window", "a street"]] * 3
    rows = [
        {
            "question": f"Where is number {i}?",
            "choices": {"text": text, "label": list("ABC")[: len(text)]},
            "answerKey": "B",
        }
        for i, text in enumerate(choices)
    ]
    write_rows(folder / "arc_easy.jsonl", rows)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write(path, "".join(json.dumps(row) + "\n" for row in rows))


INPUTS: dict[str, Callable[[Path], object]] = {
    "model": build_tiny_model,
    "other_model": partial(build_tiny_model, seed=1),
    "bfloat16_model": partial(build_tiny_model, dtype="bfloat16"),
    "texts": texts,
    "tables": write_tables,
    "benchmarks": benchmarks,
    "pictures": pictures,
    "people": people,
    "resnet": partial(resnet, 0),
    "other_resnet": partial(resnet, 1),
    "vit": vit,
    "vq": vq,
    "palette": palette,
}


class Place:
    """A folder with inputs and runs. `place("@texts/forget.txt")` is a path of it; `@runs/NAME` is that of a run."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        # a model card has backslashes before underscores
        self.written = re.compile("".join(rf"\\?{re.escape(letter)}" for letter in str(self.root)))

    def __call__(self, value: Any) -> Any:
        """Paths in place of what begins with @, in values of any kind."""
        if isinstance(value, Mapping):
            return {key: self(each) for key, each in value.items()}
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        name = value[1:].partition("/")[0]
        if name == "runs":
            return str(self.root / value[1:])
        folder = self.root / "inputs" / name
        if not folder.exists():
            INPUTS[name](folder)
        return str(self.root / "inputs" / value[1:])

    def run(self, name: str) -> Path:
        return self.root / "runs" / name

    def free(self, text: str) -> str:
        """Text without the name of this folder."""
        return self.written.sub("PLACE", text)

    def inputs(self) -> dict[str, str]:
        """Digests of the inputs that were made."""
        folder = self.root / "inputs"
        return {path.name: digest_of(path) for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def digest_of(folder: Path) -> str:
    found = hashlib.sha256()
    for path in files(folder):
        found.update(f"{path.relative_to(folder).as_posix()}\0{digest(path.read_bytes())}\n".encode())
    return found.hexdigest()[:16]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
