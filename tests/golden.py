"""Golden runs: what tiny runs of every kind give is recorded once, and later code is held against the recording.

    python tests/golden.py list                              the names of the runs
    python tests/golden.py record tests/golden.json          do all of them, and write down what they gave
    python tests/golden.py compare tests/golden.json         do them again, and say what differs

It is for changes that must change nothing: files that move, functions that merge. Every run is a few seconds of work on a
model made on the spot, all of them five minutes on one slow core. They go through `expunge.run`, `expunge.evaluate` and the
command line alone, so the script keeps working when what is behind them moves. The code that is tried is that in `src`
beside this file. Nothing is downloaded.

Of a run is kept: a digest of every weight tensor, with a few of its figures; scores, verdict and cost; the text of the
report, of the model card and of what a command prints, without durations, memory, dates, versions and paths; the files
of the model; and the keys of record.json. `compare` calls a run

    same bits       everything is equal, to the bit
    within 1e-6     numbers differ by no more than 1e-6 (relative or absolute), the text in a last digit at most
    DIFFERENT       anything else; what differs is shown, and the exit code is 1

`--only NAME ...` takes names, or their beginnings (`language/`), with the runs that these need; with `record` it renews
these in the file. `--work FOLDER` keeps inputs and run folders there. Bits depend on the processor and on versions; the
recording says which they were, and `compare` says where they are others. On another machine record again, with the old
code, before anything is changed.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import html
import io
import json
import math
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["no_proxy"] = "*"  # the judge is on the loopback interface

import torch
import yaml
from safetensors.torch import load_file

import expunge
from expunge.cli import main as typed
from small import SMALL, write_texts
from tiny_model import build_tiny_model
from toxic_tables import write_tables

HERE = Path(__file__).resolve().parent
CLOSE = 1e-6
"how far numbers may lie apart, relative or absolute"
CLASSES = ("ant", "bee", "cat", "dog")

Recording = dict[str, Any]


# Inputs, made on the spot where a run needs them


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


# The recording of a run


def recording(place: Place, folder: Path) -> Recording:
    """The recording of a finished run, read from its files alone."""
    record = json.loads(place.free((folder / "record.json").read_text(encoding="utf-8")))
    cost = {key: value for key, value in record["cost"].items() if not VARYING_COST.search(key)}
    found: Recording = {
        "weights": weights(folder / "model"),
        "stages": {
            re.sub(r"-[0-9a-f]{8,}(?=/)", "", path.relative_to(folder / "stages").as_posix()): digest(path.read_bytes())
            for path in sorted((folder / "stages").rglob("*.safetensors"))
        },
        "model files": {
            path.relative_to(folder / "model").as_posix(): digest(place.free(path.read_text(encoding="utf-8")).encode())
            for path in files(folder / "model")
            if path.suffix != ".safetensors" and path.name not in ("README.md", "sisa.json")
        },
        "scores": scores(json.loads((folder / "scores.json").read_text(encoding="utf-8"))),
        "passed": record["verdict"]["passed"],
        "checks": {
            check["name"]: [check["passed"], check["value"], check["threshold"]]
            for check in record["verdict"]["checks"]
        },
        "cost": cost,
        "record keys": sorted(keys(record)),
        "texts": {
            "report": page_lines(place, folder / "report.html"),
            "card": text_lines(place, (folder / "model" / "README.md").read_text(encoding="utf-8"))
            if (folder / "model" / "README.md").is_file()
            else [],
        },
    }
    for name in ("per_example.json", "answers.json", "toxicity.json", "model/sisa.json"):
        if (folder / name).is_file():
            content = json.loads(place.free((folder / name).read_text(encoding="utf-8")))
            found.setdefault("digests", {})[name] = digest(json.dumps(content, sort_keys=True).encode())
    return found


VARYING_COST = re.compile(r"second|memory")


def weights(folder: Path) -> dict[str, dict[str, str]]:
    """Of every tensor: its digest, then the sum of its values, the sum of their sizes, and the largest size."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        told = found[path.relative_to(folder).as_posix()] = {}
        for name, tensor in load_file(path).items():
            if not tensor.is_floating_point():  # a count of batches
                told[name] = f"{digest(repr(tensor.tolist()).encode())[:12]}"
                continue
            values = tensor.double().reshape(-1)
            figures = (
                float(values.sum()),
                float(values.abs().sum()),
                float(values.abs().max()) if len(values) else 0.0,
            )
            content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            told[name] = " ".join([digest(content)[:12], *(f"{figure:.10g}" for figure in figures)])
    return found


def scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """`MEASURE SPLIT MODEL`: value, limits and n."""
    return {
        f"{row['measure']} {row['split']} {row['model']}": f"{row['value']} {row['low']} {row['high']} {row['n']}"
        for row in rows
    }


def keys(value: Any, name: str = "") -> set[str]:
    """Dotted keys of nested mappings; `[]` stands for each entry of a list."""
    if isinstance(value, Mapping):
        return {found for key, each in value.items() for found in {f"{name}{key}", *keys(each, f"{name}{key}.")}}
    if isinstance(value, list):
        return {found for each in value for found in keys(each, f"{name.removesuffix('.')}[].")}
    return set()


NEW_LINE = re.compile(
    r"</?(?:title|header|h[1-6]|p|ol|ul|li|dl|dt|dd|table|caption|thead|tbody|tr|figure|figcaption|section|nav|main|div|"
    r"details|summary|svg|body|head)\b[^>]*>"
)
VARIES = [
    (re.compile(r"\d{1,2} [A-Z][a-z]+ \d{4}, \d\d:\d\d UTC"), "DATE"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "http://127.0.0.1:PORT"),
    (re.compile(r"\d[\d,.]* tokens(?: a second|/s)"), "SPEED"),
    (re.compile(r"\d[\d,.]* (?:KiB|MiB|GiB)"), "MEMORY"),
    (re.compile(r"(?<![\w.])\d[\d,.]* (?:s|min|h|minutes)(?: \d\d (?:s|min))?(?!\w)"), "TIME"),
    (re.compile(r"(Time, of that of retraining) .*"), r"\1 SHARE"),
    (re.compile(r"(took \|? ?TIME), [\d,.]+ % of that"), r"\1, SHARE of that"),
    (re.compile(r"-{5,}"), "-----"),
]
"what is another thing in every run, and what stands for it"


def page_lines(place: Place, page: Path) -> list[str]:
    """The text of a page, a line a paragraph or row of a table; without versions and digests."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(
        r"(?s)<(style|script)\b.*?</\1>|<!--.*?-->|<section id=\"(?:versions|digests)\">.*?</section>", "", text
    )
    parts = []
    for part in re.split(r"(?s)(<pre\b.*?</pre>)", text):
        if not part.startswith("<pre"):
            part = NEW_LINE.sub("\n", re.sub(r"\s+", " ", part))
            part = re.sub(r"</t[dh]>", " | ", part)
            part = re.sub(r"<math\b.*?</math>", lambda found: re.sub(r"<[^>]*>", "", found[0]), part)
        parts.append(re.sub(r"<[^>]*>", " ", part))
    return text_lines(place, html.unescape("\n".join(parts)))


def text_lines(place: Place, text: str) -> list[str]:
    """Lines without what varies, and without the space that only sets columns."""
    found = []
    for line in place.free(text).splitlines():
        line = " ".join(line.split())
        for pattern, word in VARIES:
            line = pattern.sub(word, line)
        if line.strip(" |"):
            found.append(line.strip(" |"))
    return found


# The runs


@dataclass(frozen=True)
class Golden:
    """A golden run: `make` does it and returns what is recorded."""

    name: str
    make: Callable[[Place], Recording]
    needs: tuple[str, ...] = ()


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    found: dict[str, Any] = {}
    for name, value in dotted.items():
        *parents, leaf = name.split(".")
        node = found
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return found


def recipe_file(place: Place, name: str, recipe: Mapping[str, Any]) -> Path:
    path = place.root / "recipes" / f"{name.replace('/', '-')}.yaml"
    write(path, yaml.safe_dump(place(nested(recipe)), sort_keys=False))
    return path


def carried_out(place: Place, name: str, recipe: Mapping[str, Any]) -> Recording:
    """A run of a recipe that is given as dotted fields."""
    expunge.run(recipe_file(place, name, recipe), place.run(name))
    return recording(place, place.run(name))


def command(place: Place, *words: str, failing: bool = False) -> tuple[int, list[str]]:
    """Type a command; its exit code and what it prints.

    Raises:
        RuntimeError: it ended with another code than 0 and 3 (the verdict failed), and not `failing`.
    """
    argv, before = sys.argv, {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err = io.StringIO(), io.StringIO()
    code = 0
    try:
        sys.argv = ["expunge", *(str(place(word)) for word in words)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            typed()
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        sys.argv = argv
        for number, handler in before.items():
            signal.signal(number, handler)
    if code not in (0, 3) and not failing:
        raise RuntimeError(f"expunge {' '.join(words)} ended with code {code}: {err.getvalue()[-2000:]}")
    return code, text_lines(place, out.getvalue())


def typed_run(place: Place, name: str, *words: str) -> Recording:
    """A run by the command line, with what it prints."""
    code, lines = command(place, *words, "--out", f"@runs/{name}")
    found = recording(place, place.run(name))
    found["exit code"] = code
    found["texts"]["printed"] = lines
    return found


def afterwards(place: Place, first: str, second: str) -> Recording:
    """What `report`, `verify` and `compare` make of finished runs."""
    page = place.run(first) / "report.html"
    before = page.read_bytes()
    page.unlink()
    _, reported = command(place, "report", f"@runs/{first}")
    same = page.read_bytes() == before
    code, verified = command(place, "verify", f"@runs/{first}", failing=True)
    _, compared = command(place, "compare", f"@runs/{first}", f"@runs/{second}")
    return {
        "report is the same": same,
        "verify's code": code,
        "texts": {"report": reported, "verify": verified, "compare": compared},
    }


def evaluated(place: Place, first: str, *words: str, model: str = "") -> Recording:
    """A copy of a finished run measured again, from the command line; and a model on the sets of that run."""
    name = f"{first.partition('/')[0]}/evaluated"
    shutil.copytree(place.run(first), place.run(name))
    for path in place.run(name).glob("stages/measured-*"):
        shutil.rmtree(path)
    code, lines = command(place, "evaluate", f"@runs/{name}", *words)
    found = recording(place, place.run(name))
    found["exit code"] = code
    found["texts"]["printed"] = lines
    if model:
        rows = expunge.evaluate(place(model), recipe=place.run(name) / "recipe.yaml")
        found["scores of a model"] = scores([row.row() for row in rows])
    return found


LANGUAGE: dict[str, Any] = SMALL | {
    "model": "@model",
    "forget": "@texts/forget.txt",
    "retain": "@texts/retain.txt",
    "training.bf16": False,
    "data.retain_answers": 0,
    "evaluation.ordinary_text": "@texts/ordinary.txt",
}
SAMPLED: dict[str, Any] = {"data.retain_answers": 4, "evaluation.ordinary_text": None}
"what is to be kept, and ordinary text, are sampled from the model"
RESTATED = {"name": "gradient_difference", "forget_loss": "log_odds", "surprise_share": 0.6, "forget_limit": 7.0,
            "retain_weight": 4.0, "retain_target": "cleared"}  # fmt: skip
BY_LANGUAGE_METHOD: dict[str, dict[str, Any]] = {
    "gradient_ascent": SAMPLED,
    "gradient_difference": {"method": RESTATED, "retrained": "@other_model"},
    "npo": {"method": {"name": "npo", "retain_target": "base"}},
    "simnpo": {},
    "targeted_npo": {},
    "rmu": {"method": {"name": "rmu", "layer": 2, "trained_layers": 1}},
    "jensun": {},
    "whos_harry_potter": SAMPLED,
    "whos_harry_potter_split": {
        "method": {"name": "whos_harry_potter", "form": "split", "top_k": 8, "retain_target": "text"},
        "reinforcement.adapter": False,
        "reinforcement.learning_rate": 1e-3,
    },
    "neggrad_plus": {},
    "adapter": {"method": "gradient_difference", "training.adapter_rank": 4},
    "accumulation": {
        "method": "npo",
        "training.per_device_train_batch_size": 2,
        "training.gradient_accumulation_steps": 2,
        "training.first_layer": 1,
    },
    "bfloat16": {"method": "gradient_difference", "model": "@bfloat16_model", "training.bf16": True},
    "rows": {"method": "simnpo", "forget": "@texts/rows.jsonl"},
    "secret": {
        "method": "gradient_ascent",
        "forget": "@texts/secret.txt",
        "evaluation.secret": "4821",
        "evaluation.secret_alternatives": 31,
    },
    "topic": {
        "method": "gradient_difference",
        "forget": "Baker Street and its people",
        "forget_kind": "topic",
        "retain": None,
        "data.retain_answers": 16,
        "evaluation.ordinary_text": None,
        "evaluation.questions": "@texts/questions.jsonl",
    },
}


def language_runs() -> Iterator[Golden]:
    for name, options in BY_LANGUAGE_METHOD.items():
        yield Golden(
            f"language/{name}",
            partial(carried_out, name=f"language/{name}", recipe=LANGUAGE | {"method": name} | options),
        )
    yield Golden("language/judged", judged)
    yield Golden("language/taught", taught)
    yield Golden("language/forgotten", forgotten, ("language/taught",))
    yield Golden(
        "language/evaluated",
        lambda place: evaluated(
            place,
            "language/gradient_difference",
            *("--benchmarks", "@benchmarks", "--prompts", "@texts/prompts.jsonl"),
            model="@other_model",
        ),
        ("language/gradient_difference",),
    )
    yield Golden(
        "language/afterwards",
        lambda place: afterwards(place, "language/gradient_difference", "language/npo"),
        ("language/gradient_difference", "language/npo"),
    )


def judged(place: Place) -> Recording:
    """A run whose completions a model on the loopback interface judges."""
    from chat_server import Endpoint

    endpoint = Endpoint()
    try:
        for answer in ("3", "2", "no", "3", "0", "0", "0", "0"):
            endpoint.completes(f'{{"familiarity": {answer}}}')
        options = {"evaluation.judge_url": endpoint.url, "evaluation.judge_model": "strong"}
        found = carried_out(place, "language/judged", LANGUAGE | {"method": "gradient_ascent"} | options)
    finally:
        endpoint.close()
    asked = [{key: value for key, value in request.items() if key != "path"} for request in endpoint.requests]
    found["asked"] = digest(place.free(json.dumps(asked, sort_keys=True)).encode())
    return found


def taught(place: Place) -> Recording:
    """`expunge teach`: two models, and what they took."""
    words = ("@texts/forget.txt", "--keep", "@texts/retain.txt", "--model", "@model", "--tokens", "512")
    _, lines = command(
        place, "teach", *words, "--epochs", "40", "--learning-rate", "0.01", "--out", "@runs/language/taught"
    )
    out = place.run("language/taught")
    told = json.loads(place.free((out / "teach.json").read_text(encoding="utf-8")))
    return {
        "weights": {
            f"{model}/{name}": found for model in ("model", "retrained") for name, found in weights(out / model).items()
        },
        "tokens": {name: cost["tokens"] for name, cost in told["cost"].items()},
        "record keys": sorted(keys(told)),
        "texts": {
            "printed": lines,
            "forget": text_lines(place, (out / "forget.txt").read_text(encoding="utf-8")),
            "retain": text_lines(place, (out / "retain.txt").read_text(encoding="utf-8")),
        },
    }


def forgotten(place: Place) -> Recording:
    """The taught book forgotten, beside the model that never saw it, with the recipe that comes with the package."""
    name = "language/forgotten"
    options = {
        "model": "@runs/language/taught/model",
        "forget": "@runs/language/taught/forget.txt",
        "retain": "@runs/language/taught/retain.txt",
        "retrained": "@runs/language/taught/retrained",
        "data.retain_answers": "6",
        "training.max_steps": "6",
        "training.learning_rate": "1e-3",
        "training.bf16": "false",
        "evaluation.max_new_tokens": "4",
        "evaluation.samples": "1",
        "evaluation.max_prompts": "4",
        "evaluation.max_blocks": "4",
        "evaluation.ordinary_text": "@texts/ordinary.txt",
    }
    words = [word for field, value in options.items() for word in (f"--{field}", value)]
    return typed_run(place, name, "run", "taught_book", *words)


TOXICITY: dict[str, Any] = SMALL | {
    "model": "@model",
    "forget": "@tables",
    "forget_kind": "toxicity",
    "data.retain_answers": 2,
    "training.per_device_train_batch_size": 4,
    "training.bf16": False,
    "toxicity.scorer": "toxic_words:score",
    "toxicity.samples": 2,
    "toxicity.group_samples": 2,
    "toxicity.max_new_tokens": 4,
    "statements.tuning_prompts": 4,
    "statements.tuning_samples": 2,
    "evaluation.familiarity": False,
    "verdict.toxicity_share": 0.31,
}
BY_TOXICITY_METHOD: dict[str, dict[str, Any]] = {
    "targeted_npo": {},
    "dpo": {},
    "task_vector_negation": {"scales": [0.5, 1.0], "perplexity_limit": 100.0},
    "spunge": {"of": {"name": "npo", "beta": 0.2}},
    "steering": {},
}


def toxicity_runs() -> Iterator[Golden]:
    for name, fields in BY_TOXICITY_METHOD.items():
        recipe = TOXICITY | {"method": {"name": name, **fields}}
        yield Golden(f"toxicity/{name}", partial(carried_out, name=f"toxicity/{name}", recipe=recipe))
    prompts = {
        "method": "npo",
        "evaluation.familiarity": False,
        "toxicity.prompts": "@texts/toxicity.jsonl",
        "toxicity.groups": "@texts/groups.jsonl",
    } | {name: value for name, value in TOXICITY.items() if name.startswith(("toxicity.", "verdict."))}
    yield Golden("toxicity/prompts", partial(carried_out, name="toxicity/prompts", recipe=LANGUAGE | prompts))
    yield Golden("toxicity/detoxify", detoxified)
    yield Golden(
        "toxicity/evaluated",
        lambda place: evaluated(place, "toxicity/dpo", "--toxicity-prompts", "@texts/toxicity.jsonl"),
        ("toxicity/dpo",),
    )
    yield Golden("toxicity/model", toxicity_of_a_model)
    yield Golden(
        "toxicity/afterwards",
        lambda place: afterwards(place, "toxicity/dpo", "toxicity/targeted_npo"),
        ("toxicity/dpo", "toxicity/targeted_npo"),
    )


def detoxified(place: Place) -> Recording:
    """By the command line, with the recipe that comes with the package."""
    options = TOXICITY | {"method": "spunge", "method.of": "gradient_ascent", "training.first_layer": 0}
    named = ("forget_kind", "evaluation.familiarity", "verdict.toxicity_share", "data.block_size")
    words = [w for name, value in options.items() if name not in named for w in (f"--{name}", str(value))]
    return typed_run(place, "toxicity/detoxify", "run", "detoxify", *words)


def toxicity_of_a_model(place: Place) -> Recording:
    """Any model on toxicity prompts, without a run."""
    rows = expunge.evaluate(
        place("@model"),
        toxicity_prompts=place("@texts/toxicity.jsonl"),
        toxicity_groups=place("@texts/groups.jsonl"),
        scorer="toxic_words:score",
    )
    return {"scores": scores([row.row() for row in rows])}


CLASSIFIER: dict[str, Any] = {
    "task": "image_classifier",
    "data": "@pictures",
    "forget": "random:8",
    "images.size": 16,
    "allow_chance_base": True,  # two epochs teach nothing
    "fitting.num_train_epochs": 2,
    "fitting.per_device_train_batch_size": 16,
    "unlearning.num_train_epochs": 1,
    "unlearning.per_device_train_batch_size": 16,
}
OWN = {"model": "@resnet", "retrained": "@other_resnet"}
BY_CLASSIFIER_METHOD: dict[str, dict[str, Any]] = {
    "scrub": {"method.epochs": 1, "retrained": "train"},
    "retrain": OWN,
    "fine_tune": OWN,
    "gradient_ascent": OWN,
    "npo": OWN,
    "neggrad_plus": OWN | {"forget": "class:cat"},
    "bad_teacher": OWN | {"model": "@vit", "method.batch_size": 16},
    "ssd": OWN | {"method.batch_size": 8},
    "salun": OWN | {"method.epochs": 2, "method.batch_size": 16},
    "kookmin": {"retrained": "train"},
}


def classifier_runs() -> Iterator[Golden]:
    for name, options in BY_CLASSIFIER_METHOD.items():
        recipe = CLASSIFIER | {"method.name": name} | options
        yield Golden(f"classifier/{name}", partial(carried_out, name=f"classifier/{name}", recipe=recipe))
    yield Golden(
        "classifier/evaluated",
        lambda place: evaluated(place, "classifier/scrub", model="@resnet"),
        ("classifier/scrub",),
    )
    yield Golden(
        "classifier/afterwards",
        lambda place: afterwards(place, "classifier/scrub", "classifier/kookmin"),
        ("classifier/scrub", "classifier/kookmin"),
    )
    yield Golden("classifier/contest", contest)


def contest(place: Place) -> Recording:
    """The 2023 challenge with two methods and two models of each kind."""
    words = ("--data", "@pictures", "--forget", "random:6", "--methods", "fine_tune,gradient_ascent", "--models", "2")
    fields = ("--images.size", "16", "--fitting.num_train_epochs", "1", "--fitting.learning_rate", "0.01")
    out = ("--workers", "1", "--out", "@runs/classifier/contest")
    _, lines = command(place, "suite", "challenge", *words, *fields, *out)
    folder = place.run("classifier/contest")
    figures = json.loads((folder / "contest.json").read_text(encoding="utf-8"))
    for row in [figures["ceiling"], *figures["methods"]]:
        del row["cpu_seconds"], row["cpu_share"]
    del figures["peak_memory_bytes"], figures["versions"]
    return {
        "figures": figures,
        "texts": {
            "printed": lines,
            # the table's last column is a share of processor time
            "report": [
                re.sub(r"(\| -?[\d.]+) \| [\d.,]+ %$", r"\1 | SHARE", line)
                for line in page_lines(place, folder / "report.html")
            ],
        },
    }


SISA: dict[str, Any] = CLASSIFIER | {
    "forget": "random:2",
    "method": {"name": "sisa", "shards": 2, "slices": 2, "epochs": 1.5, "batch_size": 8},
}


def sisa_runs() -> Iterator[Golden]:
    yield Golden("sisa/trained", partial(carried_out, name="sisa/trained", recipe=SISA | {"retrained": "train"}))
    deletion = SISA | {"model": "@runs/sisa/trained", "forget": "@people/people.csv"}
    yield Golden("sisa/deletion", partial(carried_out, name="sisa/deletion", recipe=deletion), ("sisa/trained",))
    yield Golden("sisa/evaluated", lambda place: evaluated(place, "sisa/trained"), ("sisa/trained",))
    yield Golden(
        "sisa/afterwards",
        lambda place: afterwards(place, "sisa/trained", "sisa/deletion"),
        ("sisa/trained", "sisa/deletion"),
    )


GENERATOR: dict[str, Any] = {
    "task": "image_to_image",
    "model": "mae-tiny",
    "data": "@pictures",
    "forget": "class:ant",
    "images.size": 16,
    "images.test": 0.25,
    "fitting.num_train_epochs": 2,
    "fitting.per_device_train_batch_size": 16,
    "network.size": 16,
    "network.num_train_epochs": 1,
    "method.epochs": 2,
    "method.batch_size": 16,
    "evaluation.grid": 2,
}
BY_GENERATOR_METHOD: dict[str, dict[str, Any]] = {
    "encoder_scrubbing": {"retrained": "train", "evaluation.front": [0.1, 1.0]},
    "noisy_label": {},
    "max_loss": {"corruption": "center-crop"},
    "retain_label": {},
    "vq": {"method.name": "encoder_scrubbing", "model": "@vq", "method.epochs": 1},
    "palette": {
        "method.name": "encoder_scrubbing",
        "model": "@palette",
        "method.noise": "binary",
        "method.epochs": 1,
        "evaluation.attack_pictures": 0,  # half a minute of drawing pictures
    },
}


def generator_runs() -> Iterator[Golden]:
    for name, options in BY_GENERATOR_METHOD.items():
        recipe = GENERATOR | {"method.name": name} | options
        yield Golden(f"generator/{name}", partial(carried_out, name=f"generator/{name}", recipe=recipe))
    yield Golden(
        "generator/evaluated",
        lambda place: evaluated(place, "generator/encoder_scrubbing"),
        ("generator/encoder_scrubbing",),
    )
    yield Golden(
        "generator/afterwards",
        lambda place: afterwards(place, "generator/encoder_scrubbing", "generator/noisy_label"),
        ("generator/encoder_scrubbing", "generator/noisy_label"),
    )


def every_run() -> list[Golden]:
    return [*language_runs(), *toxicity_runs(), *classifier_runs(), *sisa_runs(), *generator_runs()]


def chosen(only: Sequence[str]) -> list[Golden]:
    """The runs that are named, by name or beginning, with those that they need."""
    runs = every_run()
    wanted = {run.name for run in runs if not only or run.name.startswith(tuple(only))}
    if lost := [name for name in only if not any(run.name.startswith(name) for run in runs)]:
        sys.exit(f"there is no golden run {lost[0]}; `list` names them")
    wanted |= {need for run in runs if run.name in wanted for need in run.needs}
    return [run for run in runs if run.name in wanted]


# Comparing


@dataclass
class Found:
    """What a comparison found of a run: what differs, what differs a little, and what is worth a word."""

    different: list[str]
    little: list[str]
    notes: list[str]

    def verdict(self) -> str:
        return "DIFFERENT" if self.different else "within 1e-6" if self.little else "same bits"


WITH_WEIGHTS = ("per_example.json", "model/sisa.json")
"files that hold values behind the scores, or digests of weights: when bits differ, they must; what a model says need not"


def compare(before: Recording, after: Recording, shown: set[str]) -> Found:
    """Hold a run against its recording.

    Args:
        shown: differences of text that were shown before; they are counted only.
    """
    found = Found([], [], [])
    for name in sorted({*before, *after} - {"texts", "weights", "stages", "digests"}):
        compare_values(name, before.get(name), after.get(name), found)
    compare_weights(before.get("weights", {}), after.get("weights", {}), found)
    same = not found.different and not found.little
    for name, old in before.get("digests", {}).items():
        if (new := after.get("digests", {}).get(name)) != old:
            what = f"{name}: {'not there' if new is None else 'other content'}"
            (found.little if name in WITH_WEIGHTS and new is not None else found.different).append(what)
    for name, old_lines in before.get("texts", {}).items():
        compare_texts(name, old_lines, after.get("texts", {}).get(name, []), found, shown, exact=same)
    for name in sorted(set(after.get("texts", {})) - set(before.get("texts", {}))):
        found.different.append(f"{name}: a text that was not recorded")
    old_stages, new_stages = before.get("stages", {}), after.get("stages", {})
    for name in sorted({*old_stages, *new_stages}):
        if old_stages.get(name) != new_stages.get(name):
            there = "other bits" if name in old_stages and name in new_stages else (
                "not there any more" if name in old_stages else "new"
            )  # fmt: skip
            found.notes.append(f"stages/{name}: {there}")
    return found


def compare_values(name: str, old: Any, new: Any, found: Found) -> None:
    """Nested values: numbers, and texts of numbers, may differ a little."""
    if old == new and type(old) is type(new):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            if key not in new:
                found.different.append(f"{name}: {key} is gone")
            elif key not in old:
                found.different.append(f"{name}: {key} is new")
            else:
                compare_values(f"{name}: {key}", old[key], new[key], found)
    elif isinstance(old, list) and isinstance(new, list) and all(isinstance(each, str) for each in [*old, *new]):
        if gone := [each for each in old if each not in new]:
            found.different.append(f"{name}: gone: {', '.join(gone)}")
        if added := [each for each in new if each not in old]:
            found.different.append(f"{name}: new: {', '.join(added)}")
        if not gone and not added:
            found.different.append(f"{name}: in another order")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            compare_values(f"{name}[{number}]", one, other, found)
    else:
        one, other = numbers(old), numbers(new)
        if one is not None and other is not None and len(one) == len(other) and all(map(close, one, other)):
            found.little.append(f"{name}: {old} is now {new}")
        else:
            found.different.append(f"{name}: {old} is now {new}")


def numbers(value: Any) -> list[float] | None:
    """The numbers of a value, or of a text of numbers; None where it is something else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return [float(word) for word in value.split()] if isinstance(value, str) else [float(value)]
    except (TypeError, ValueError):
        return None


def close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)


def compare_weights(old: Mapping[str, Any], new: Mapping[str, Any], found: Found) -> None:
    """Digests of the tensors; where they differ, how far their figures lie apart."""
    flat_old = {f"{file}: {name}": told.split() for file, tensors in old.items() for name, told in tensors.items()}
    flat_new = {f"{file}: {name}": told.split() for file, tensors in new.items() for name, told in tensors.items()}
    for what, names in (("gone", flat_old.keys() - flat_new.keys()), ("new", flat_new.keys() - flat_old.keys())):
        if names:
            found.different.append(f"weights: {len(names)} tensors {what}: {', '.join(sorted(names)[:3])}")
    changed = [name for name in flat_old if name in flat_new and flat_old[name][0] != flat_new[name][0]]
    if not changed:
        return
    absolute, relative, where = 0.0, 0.0, ""
    for name in changed:
        one, other = ([float(figure) for figure in told[name][1:]] for told in (flat_old, flat_new))
        if len(one) != len(other) or not one:
            absolute = relative = math.inf
            where = name
            continue
        size = max(one[1], other[1], 1e-30)
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            off = abs(a - b) if math.isfinite(a - b) else (0.0 if repr(a) == repr(b) else math.inf)
            share = off / (max(abs(a), abs(b), 1e-30) if number == 2 else size)
            absolute = max(absolute, off)
            if share > relative:
                relative, where = share, name
    what = (
        f"weights: {len(changed)} of {len(flat_old)} tensors have other bits; their sums, sums of sizes and largest "
        f"sizes differ by at most {absolute:.3g}, relative {relative:.3g}" + (f" ({where})" if where else "")
    )
    (found.little if relative <= CLOSE else found.different).append(what)


NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def compare_texts(
    name: str, old: Sequence[str], new: Sequence[str], found: Found, shown: set[str], *, exact: bool
) -> None:
    """Lines of text, as a diff. Unless `exact`, a number may differ by one in its last digit."""
    if list(old) == list(new):
        return
    if not exact and len(old) == len(new) and all(map(nearly, old, new)):
        count = sum(a != b for a, b in zip(old, new, strict=True))
        found.little.append(f"{name}: {count} lines differ in a last digit")
        return
    told, again = [], 0
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        gone, added = old[i:j], new[k:m]
        for number in range(max(len(gone), len(added))):
            pair = [lines[number] if number < len(lines) else "" for lines in (gone, added)]
            start = next((at for at, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), min(map(len, pair)))
            for sign, line in zip("-+", pair, strict=True):
                if line and sign + line in shown:
                    again += 1
                elif line:
                    shown.add(sign + line)
                    told.append(sign + around(line, start))
    head = f"{name}: the text differs" + (f" ({again} lines as shown above)" if again else "")
    most = 40
    if len(told) > most:
        told[most:] = [f"… and {len(told) - most} lines more"]
    found.different.append("\n      ".join([head, *told]))


def around(line: str, start: int, width: int = 200) -> str:
    """What a long line has near a place."""
    first = max(0, min(start - 60, len(line) - width))
    return ("… " if first else "") + line[first : first + width] + (" …" if first + width < len(line) else "")


def nearly(one: str, other: str) -> bool:
    """Whether two lines are the same but for last digits of their numbers."""
    if one == other:
        return True
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True):
        digits = max(len(text.partition(".")[2]) for text in (a, b)) if "e" not in a + b else 0
        step = 10.0**-digits if "e" not in a + b else CLOSE
        if abs(float(a.replace(",", "")) - float(b.replace(",", ""))) > 1.001 * step:
            return False
    return True


# The script


def packed(runs: Mapping[str, Recording]) -> Recording:
    """Texts and keys with a short digest for each line, and the lines by their digests: most stand in many texts."""
    lines: dict[str, str] = {}

    def short(text: Sequence[str]) -> str:
        for line in text:
            if lines.setdefault(digest(line.encode())[:8], line) != line:
                raise RuntimeError(f"two lines have one digest: {line}")
        return " ".join(digest(line.encode())[:8] for line in text)

    made = {
        name: run
        | {"record keys": short(run.get("record keys", []))}
        | {"texts": {title: short(text) for title, text in run.get("texts", {}).items()}}
        for name, run in runs.items()
    }
    return {"runs": made, "lines": lines}


def unpacked(held: Recording) -> dict[str, Recording]:
    """The runs that `packed` has packed."""

    def long(text: str) -> list[str]:
        return [held["lines"][short] for short in text.split()]

    return {
        name: run
        | {"record keys": long(run["record keys"])}
        | {"texts": {title: long(text) for title, text in run["texts"].items()}}
        for name, run in held["runs"].items()
    }


def machine() -> dict[str, str]:
    """What bits depend on."""
    packages = ("torch", "transformers", "peft", "accelerate", "diffusers", "numpy", "tokenizers", "matplotlib")
    processor = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "python": platform.python_version(),
        "processor": processor,
        "instructions": capability,
        **{name: version(name) for name in packages},
    }


@contextlib.contextmanager
def at_work(folder: Path | None) -> Iterator[Place]:
    """A new place for inputs and runs; one that was not asked for goes again."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            sys.exit(f"{folder} is not empty")
        yield Place(folder)
        return
    with tempfile.TemporaryDirectory(prefix="golden-") as made:
        yield Place(Path(made))


def prepare() -> None:
    """One thread, and quiet libraries."""
    import gc

    import matplotlib.pyplot
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    gc.collect()
    gc.freeze()  # a run collects garbage now and then, which takes long with so many modules
    assert matplotlib.pyplot


def record(path: Path, only: Sequence[str], work: Path | None) -> int:
    held = json.loads(path.read_text(encoding="utf-8")) if only and path.is_file() else {}
    runs, inputs = unpacked(held) if held else {}, held.get("inputs", {})
    start = time.monotonic()
    with at_work(work) as place:
        todo = chosen(only)
        for number, run in enumerate(todo, 1):
            begun = time.monotonic()
            runs[run.name] = run.make(place)
            print(f"[{number:2}/{len(todo)}] {run.name:<36}{time.monotonic() - begun:6.1f} s", flush=True)
        found = {"machine": machine(), "inputs": inputs | place.inputs(), **packed(runs)}
    text = json.dumps(found, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(runs)} runs, {len(text.encode()) / 1e6:.2f} MB, {time.monotonic() - start:.0f} s")
    return 0


def compare_all(path: Path, only: Sequence[str], work: Path | None) -> int:
    held = json.loads(path.read_text(encoding="utf-8"))
    recorded, here = unpacked(held), machine()
    for name in sorted({*here, *held["machine"]}):
        if here.get(name) != held["machine"].get(name):
            print(f"note: {name} {here.get(name)}, recorded with {held['machine'].get(name)}: bits may differ for that")
    verdicts: dict[str, int] = {}
    shown: set[str] = set()
    start = time.monotonic()
    with at_work(work) as place:
        todo = chosen(only)
        for number, run in enumerate(todo, 1):
            begun = time.monotonic()
            try:
                after = unpacked(json.loads(json.dumps(packed({run.name: run.make(place)}))))[run.name]  # as it is read
                before = recorded.get(run.name)
                found = compare(before, after, shown) if before else Found([f"{path} does not hold this run"], [], [])
            except Exception:
                found = Found(["it broke off: " + traceback.format_exc(limit=-6).replace("\n", "\n      ")], [], [])
            verdict = found.verdict()
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
            seconds = time.monotonic() - begun
            print(f"[{number:2}/{len(todo)}] {run.name:<36}{seconds:6.1f} s  {verdict}", flush=True)
            for line in [*found.different, *found.little, *(f"(note) {each}" for each in found.notes)]:
                print(f"    {line}", flush=True)
        for name, value in place.inputs().items():
            if held["inputs"].get(name) != value:
                print(f"note: the input {name} is not the recorded one: tests/ makes it otherwise, or the library does")
    lost = [] if only else sorted(recorded.keys() - {run.name for run in todo})
    for name in lost:
        print(f"{name}: recorded, and not run any more")
    total = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"{total}; {time.monotonic() - start:.0f} s; {expunge.__file__}")
    return 1 if lost or "DIFFERENT" in verdicts else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("record", "compare", "list"))
    parser.add_argument("file", nargs="?", type=Path, default=HERE / "golden.json", help="the recording")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="names of runs, or their beginnings")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keep inputs and run folders here")
    typed_in = parser.parse_args()
    if typed_in.what == "list":
        print("\n".join(run.name for run in every_run()))
        return 0
    prepare()
    action = record if typed_in.what == "record" else compare_all
    return action(typed_in.file, typed_in.only, typed_in.work)


if __name__ == "__main__":
    sys.exit(main())
