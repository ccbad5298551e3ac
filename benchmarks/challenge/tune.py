"""Try settings for each method of the contest on a split of its own, and print the best as YAML.

python benchmarks/challenge/tune.py --data FACES --out runs/tune > src/expunge/suites/challenge/settings.yaml
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from expunge.core.progress import Live
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.runs.recipe import make
from expunge.suites.challenge.run import run_contest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/tune"))
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=1200)
    parser.add_argument("--forget", default="random:0.02")
    parser.add_argument("--seed", type=int, default=101, help="the splits that are reported have others")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--only", default="", help="names with commas between them")
    options = parser.parse_args()
    tried: dict[str, list[dict[str, Any]]] = yaml.safe_load((Path(__file__).parent / "candidates.yaml").read_text())
    if options.only:
        tried = {name: tried[name] for name in options.only.split(",")}
    methods = {
        f"{name}.{number}": {
            "method": {"name": name, **candidate.get("method", {})},
            "unlearning": candidate.get("unlearning", {}),
        }
        for name, candidates in tried.items()
        for number, candidate in enumerate(candidates)
    }
    recipe = make(
        ImageRecipe,
        {
            "data": options.data,
            "forget": options.forget,
            "seed": options.seed,
            "images": {"limit": options.pictures, "only_train": True, "size": 32},
        },
        {},
    )
    figures = run_contest(
        recipe, options.out, methods=methods, models=options.models, workers=options.workers, show=Live()
    )
    best: dict[str, dict[str, Any]] = {}
    for row in figures["methods"]:  # best first
        name = row["name"].partition(".")[0]
        print(
            f"{row['name']:24} F {row['forgetting']['value']:.3f} of {figures['ceiling']['forgetting']['value']:.3f}, "
            f"retain {row['retain_ratio']['value']:.3f}, test {row['test_ratio']['value']:.3f}, "
            f"compute {row['compute_share']:.3f}, score {row['score']['value']:.4f}",
            file=sys.stderr,
        )
        if name not in best:
            settings = {key: value for key, value in row["settings"]["method"].items() if key != "name"}
            kept = {"method": settings, "unlearning": row["settings"]["unlearning"]}
            best[name] = {key: value for key, value in kept.items() if value}
    print("# Made by benchmarks/challenge/tune.py on a split that is not reported.")
    print(yaml.safe_dump(best, sort_keys=True, width=120), end="")


if __name__ == "__main__":
    main()
