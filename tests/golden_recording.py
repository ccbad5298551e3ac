"""What is recorded of a golden run: read from its files alone."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from golden_inputs import Place, digest, files

Recording = dict[str, Any]


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
