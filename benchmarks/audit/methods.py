"""Methods on a taught book, audited: what each forgets, what it costs, and what attacks bring back.

    expunge teach BOOK.txt --tokens 2048 --keep OTHER.txt --out runs/taught
    python benchmarks/audit/methods.py --taught runs/taught --ordinary WIKITEXT.txt --out runs/audited

Runs and audits that are there are read, and an interrupted one resumes. The table is printed as Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SHORT = [
    "--training.max_steps",
    "24",
    "--training.per_device_train_batch_size",
    "4",
    "--training.learning_rate",
    "2e-5",
]
METHODS: dict[str, list[str]] = {
    "npo": ["--method", "npo", *SHORT],
    "simnpo": ["--method", "simnpo", *SHORT],
    "npo_sam": ["--method", "npo_sam", *SHORT],
    "gradient_difference": ["--method", "gradient_difference", *SHORT],
    "rmu": ["--method", "rmu", *SHORT],
    "repselect": ["--method", "repselect"],
    "repselect, KL 0.05": ["--method", "repselect", "--method.kl_limit", "0.05"],
    "repselect, KL 0.1": ["--method", "repselect", "--method.kl_limit", "0.1"],
    "repair": ["--method", "repair", "--method.of", "{name: repselect, kl_limit: 0.2}"],
    "cir": ["--method", "cir"],
    "mudman": ["--method", "mudman"],
    "undo": ["--method", "undo", "--method.of", "npo", *SHORT],
    "sage": ["--method", "sage", "--method.of", "npo", *SHORT],
}
"name -> options; settings are defaults, or what another text showed to forget (npo and its like: 24 steps of 2e-5)"
MEASURING = ["--data.retain_answers", "0", "--evaluation.max_blocks", "8", "--evaluation.familiarity", "false"]
ATTACKS = ("as_is", "quantize", "relearn")


def expunge(*words: str) -> None:
    code = subprocess.run([sys.executable, "-m", "expunge", *words], cwd=ROOT).returncode
    if code not in (0, 3):  # a verdict that failed is a result
        sys.exit(code)


def folder_of(name: str, seed: int) -> str:
    return name.replace(", KL ", "-") + (f"-seed{seed}" if seed else "")


def figure(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "–"
    scale = 100 if row["unit"].startswith("share") else 1
    digits = 0 if scale == 100 else 3
    value, low, high = (f"{row[name] * scale:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def row_of(name: str, folder: Path) -> str:
    found = json.loads((folder / "audit" / "audit.json").read_text())
    rows = {row["name"]: row for row in found["findings"]}
    record = json.loads((folder / "record.json").read_text())
    cells = [figure(rows.get(each)) for each in (*ATTACKS, "retain_kept", "perplexity")]
    seconds = record["cost"]["seconds"].get("unlearned") or record["cost"].get("seconds_unlearning") or 0
    return "| " + " | ".join([name, *cells, f"{found['damage']['kl'][0]:.4f}", f"{seconds:.0f}"]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taught", type=Path, required=True)
    parser.add_argument("--ordinary", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", default=";".join(METHODS), help="names with ; between")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    taught, out = given.taught.resolve(), given.out.resolve()
    names = given.methods.split(";")
    for name in names:
        data = [f"--{part}={taught / file}" for part, file in (("model", "model"), ("retrained", "retrained"))]
        data += [f"--{part}={taught / f'{part}.txt'}" for part in ("forget", "retain")]
        data += [f"--evaluation.ordinary_text={Path(given.ordinary).resolve()}", *MEASURING]
        folder = out / folder_of(name, given.seed)
        if not (folder / "record.json").is_file():
            expunge("run", "taught_book", *data, *METHODS[name], "--seed", str(given.seed), "--out", str(folder))
        if not (folder / "audit" / "audit.json").is_file():
            expunge("audit", str(folder), "--attacks", ",".join(ATTACKS[1:]))
    print("| method | without an attack | 4 and 8 bits | relearned | retain kept | perplexity | KL | seconds |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in names:
        print(row_of(name, out / folder_of(name, given.seed)))


if __name__ == "__main__":
    main()
