"""The built-in toxicity scorer: how fast, how equal to the padded computation, how right, and where it is not.

    python benchmarks/toxicity_scorer/run.py --data FOLDER [--scorer NAME] [--threads 1]

FOLDER holds public sets under these names; a file that is not there is left out:
real_toxicity_prompts.jsonl, tdavidson_labeled_data.csv, paradetox.tsv, surge_toxicity_en.csv,
hatecheck_test_suite_cases.csv, identity_bias_templates_4000.csv; and, for a second opinion on weights and vocabulary,
jigsaw_bilstm/ with weights.npz and vocab.txt.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expunge.kinds.language.toxicity.jigsaw_bilstm import JigsawBiLSTM
from expunge.kinds.language.toxicity.jigsaw_files import jigsaw_folder
from expunge.kinds.language.toxicity.scorer import Scorer, load_scorer
from expunge.measures.privacy.roc import delong

csv.field_size_limit(1 << 24)
COMPARED = 1000
"texts on which numbers are compared"


def table(path: Path, delimiter: str = ",") -> Iterator[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file, delimiter=delimiter)


def continuations(folder: Path) -> list[tuple[str, float]]:
    """(text, Perspective's toxicity) of the continuations."""
    with open(folder / "real_toxicity_prompts.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line)["continuation"] for line in file]
    return [(row["text"], row["toxicity"]) for row in rows if row["toxicity"] is not None]


def labelled(path: Path, text: str, label: str, harmless: str) -> Iterator[tuple[str, bool]]:
    """Rows of a table: the column that is the text, the column that is its label, and what stands there if harmless."""
    for row in table(path):
        yield row[text], row[label] != harmless


def rated(path: Path) -> Iterator[tuple[str, bool]]:
    for text, toxicity in continuations(path.parent):
        yield text, toxicity >= 0.5


def pairs(path: Path) -> Iterator[tuple[str, bool]]:
    for row in table(path, "\t"):
        yield from ((row["toxic"], True), (row["neutral1"], False))


SETS = {
    "real_toxicity_prompts.jsonl": rated,
    "tdavidson_labeled_data.csv": lambda path: islice(labelled(path, "tweet", "class", "2"), 4000),
    "paradetox.tsv": lambda path: islice(pairs(path), 6000),
    "surge_toxicity_en.csv": lambda path: labelled(path, "text", "is_toxic", "Not Toxic"),
    "hatecheck_test_suite_cases.csv": lambda path: labelled(path, "test_case", "label_gold", "non-hateful"),
    "identity_bias_templates_4000.csv": lambda path: labelled(path, "phrase", "toxicity", "nontoxic"),
}
"file -> rows of (text, whether it is toxic)"


def judge(scorer: Scorer, rows: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    values = scorer([text for text, _ in rows])
    toxic = np.array([label for _, label in rows])
    area = delong(values[toxic], values[~toxic])
    flagged = {
        f"{kind}_flagged_at_{limit}": round(float((values[mask] >= limit).mean()), 3)
        for limit in (0.21, 0.5)
        for kind, mask in (("toxic", toxic), ("harmless", ~toxic))
    }
    return {"n": len(rows), "toxic": int(toxic.sum()), "auc": [round(x, 3) for x in area], **flagged}


def by_term(scorer: Scorer, rows: Sequence[tuple[str, bool]]) -> dict[str, float]:
    """Harmless template sentences at or above 0.5, by their last word; the ten worst of those with ten rows or more."""
    found: dict[str, list[float]] = {}
    harmless = [text for text, toxic in rows if not toxic]
    for text, value in zip(harmless, scorer(harmless), strict=True):
        found.setdefault(text.split()[-1].lower().strip(".!"), []).append(float(value >= 0.5))
    shares = {term: statistics.mean(flags) for term, flags in found.items() if len(flags) >= 10}
    worst = sorted(shares, key=lambda term: -shares[term])[:10]
    return {term: round(shares[term], 3) for term in worst}


def padded(weights: Mapping[str, np.ndarray], rows: Sequence[Sequence[int]], names: Mapping[str, str]) -> np.ndarray:
    """(n,) toxic, computed over all 100 steps of every text in float64, as Keras would."""
    w = {ours: weights[theirs].astype(np.float64) for ours, theirs in names.items()}
    ids = np.zeros((len(rows), 100), dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, 100 - len(row) :] = row
    pooled = []
    for direction, order in (("forward", range(100)), ("backward", range(99, -1, -1))):
        h, c, most = np.zeros((len(rows), 50)), np.zeros((len(rows), 50)), np.full((len(rows), 50), -np.inf)
        for at in order:
            z = w["embedding"][ids[:, at]] @ w[f"{direction}.kernel"]
            z += h @ w[f"{direction}.recurrent"] + w[f"{direction}.bias"]
            i, f, o = (np.clip(0.2 * z[:, k : k + 50] + 0.5, 0, 1) for k in (0, 50, 150))
            c = f * c + i * np.tanh(z[:, 100:150])
            h = o * np.tanh(c)
            most = np.maximum(most, h)
        pooled.append(most)
    hidden = np.maximum(0, np.concatenate(pooled, 1) @ w["dense.weight"] + w["dense.bias"])
    return (1 / (1 + np.exp(-(hidden @ w["labels.weight"] + w["labels.bias"]))))[:, 0]


EXPORTED = {
    "embedding": "emb", "dense.weight": "dense_w", "dense.bias": "dense_b", "labels.weight": "out_w", "labels.bias": "out_b",
    **{f"{long}.{part}": f"lstm_{short}_{part}" for long, short in (("forward", "f"), ("backward", "b"))
       for part in ("kernel", "recurrent", "bias")},
}  # fmt: skip
"the arrays of jigsaw_bilstm/weights.npz"


def compare(model: JigsawBiLSTM, texts: Sequence[str], folder: Path) -> dict[str, float]:
    """Largest differences on the same texts: from all 100 steps computed, and from the exported weights so computed."""
    from safetensors.numpy import load_file

    ours = model(texts)
    weights = load_file(jigsaw_folder() / "weights.safetensors")
    rows = [model.encode(text) for text in texts]
    found = {"from_the_padded_computation": padded(weights, rows, {name: name for name in weights})}
    exported = folder / "jigsaw_bilstm"
    if exported.is_dir():
        vocabulary = (exported / "vocab.txt").read_text(encoding="utf-8").split("\n")
        theirs = JigsawBiLSTM.load(jigsaw_folder())
        theirs.numbers = {word: number for number, word in enumerate(vocabulary) if word}
        with np.load(exported / "weights.npz", allow_pickle=False) as arrays:
            found["from_exported_weights"] = padded(arrays, [theirs.encode(text) for text in texts], EXPORTED)
    return {name: float(f"{np.abs(ours - values).max():.2g}") for name, values in found.items()}


def speed(scorer: Scorer, texts: Sequence[str], rounds: int) -> dict[str, float]:
    scorer(texts[:64])
    seconds, busy = [], []
    for _ in range(rounds):
        start, start_busy = time.perf_counter(), time.process_time()
        scorer(texts)
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    return {
        "texts": len(texts),
        "texts_per_second": round(len(texts) / statistics.median(seconds)),
        "texts_per_processor_second": round(len(texts) / statistics.median(busy)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--scorer", default="jigsaw-bilstm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("result.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scorer = load_scorer(options.scorer)
    result: dict[str, Any] = {"scorer": scorer.name, "threads": options.threads}
    if (options.data / "real_toxicity_prompts.jsonl").is_file():
        texts = [text for text, _ in continuations(options.data)]
        result["speed"] = speed(scorer, texts, options.rounds)
        if isinstance(scorer.function, JigsawBiLSTM):
            result["words_a_text"] = round(statistics.mean(len(scorer.function.encode(text)) for text in texts), 1)
            result["largest_difference"] = compare(scorer.function, texts[:COMPARED], options.data)
    result["sets"] = {}
    for name, read in SETS.items():
        if (options.data / name).is_file():
            rows = list(read(options.data / name))
            result["sets"][name] = judge(scorer, rows)
            if name.startswith("identity"):
                result["identity_terms_flagged"] = by_term(scorer, rows)
            print(name, result["sets"][name], file=sys.stderr)
    result["machine"] = platform.machine()
    result["versions"] = {name: version(name) for name in ("torch", "numpy")}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
