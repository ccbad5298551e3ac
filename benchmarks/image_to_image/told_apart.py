"""How well the pictures to forget can be told from those to keep by the parts that are shown.

    python benchmarks/image_to_image/told_apart.py RUN [--steps 400] [--batch 32] [--learning-rate 1e-3]

An encoder that lets pictures to keep through and turns the others into noise has to tell the two apart, by what is left of
them. Here the base model's encoder of a run learns that and nothing else, as a classifier, on newly hidden patches at
every step. Printed: the share of the pictures to forget that it finds where it takes 1, 3, 5 and 10 % of the held-back
pictures to keep for ones to forget. What it does not find, no scrubbed encoder of that size and training scrubs.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F

from expunge.kinds.generator.model import load_generator
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.session import evaluation_keys
from expunge.kinds.generator.sets import corruption_of, read_sets
from expunge.measures.statistics import wilson_interval
from expunge.models.source import locate
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import read_recipe

FALSE_ALARMS = (0.01, 0.03, 0.05, 0.10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    given = parser.parse_args()
    run = RunFolder(given.run)
    recipe = read_recipe(run.recipe)
    assert isinstance(recipe, GeneratorRecipe)
    sets, corruption = read_sets(recipe), corruption_of(recipe)
    found = sorted(run.stages.glob("fitted-base-*/model"))
    task = load_generator(locate(str(found[0]) if found else recipe.model), sets.size, corruption)
    retain, forget = sets.tensors["retain"], sets.tensors["forget"]
    torch.manual_seed(recipe.seed)
    width = task.batch_features(
        task.batch(retain, torch.arange(1), keys=torch.zeros(len(retain), dtype=torch.int64))
    ).shape[-1]
    head = torch.nn.Linear(width, 1)
    parameters = [*(p for p in task.encoder.parameters() if p.requires_grad), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=given.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, 10 * (step + 1) / given.steps) * (1 + math.cos(math.pi * step / given.steps)) / 2
    )
    task.model.train()
    truth = torch.cat([torch.zeros(given.batch), torch.ones(given.batch)])
    for _ in range(given.steps):
        halves = []
        for pictures in (retain, forget):
            rows = torch.randint(len(pictures), (given.batch,))
            halves.append(task.batch(pictures, rows, keys=torch.randint(1 << 62, (len(pictures),))))
        said = torch.cat([head(features[:, 0])[:, 0] for features in task.features_of(*halves)])
        loss = F.binary_cross_entropy_with_logits(said, truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()

    @torch.no_grad()
    def scores(split: str) -> torch.Tensor:
        pictures = sets.tensors[split]
        features = task.set_features(pictures, evaluation_keys(recipe.seed, split, len(pictures)))
        return head(features[:, 0].to(task.device))[:, 0].cpu().double()

    kept = scores("retain_test")
    print("| pictures | n | " + " | ".join(f"found at {share:.0%} false alarms" for share in FALSE_ALARMS) + " |")
    print("|---|---:|" + "---:|" * len(FALSE_ALARMS))
    for split in ("forget", "forget_test"):
        told = scores(split)
        cells = []
        for share in FALSE_ALARMS:
            hits = int((told > kept.quantile(1 - share)).sum())
            low, high = wilson_interval(hits, len(told))
            cells.append(f"{hits / len(told):.1%} [{low:.1%}, {high:.1%}]")
        print(f"| {split} | {len(told)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
