"""What SISA costs and what it is worth: a request against training anew, accuracy against one whole model, bits.

    python benchmarks/sisa/run.py --data FOLDER --label age_group --out runs/sisa_benchmark [--result result.json]

Trains on the first pictures of the data, measures on later ones. Finished models stay in --out: killed, it goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from expunge.core import storage
from expunge.core.order import random_seed
from expunge.data.images.reading import read_images
from expunge.kinds.classifier.measures.classification import balanced_accuracy
from expunge.kinds.classifier.model import load_any, locate_classifier, new_classifier, save_classifier
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.sets import tensors
from expunge.kinds.classifier.training import balancing, fit, fitting_phase
from expunge.kinds.sharded_classifier import sharding as sisa
from expunge.kinds.sharded_classifier.model import write_index
from expunge.kinds.sharded_classifier.sharding import Member, Sharding
from expunge.kinds.sharded_classifier.training import Data, train
from expunge.measures.statistics import paired_share_interval, share_interval
from expunge.methods.sisa import Sisa
from expunge.runs.recipe import make
from expunge.runs.versions import versions

REQUESTS = (1, 2, 4, 8, 16, 64)
"pictures in a request, drawn at random"


def spent(path: Path, make: Callable[[], None]) -> float:
    """Processor seconds of making something, noted when it is done."""
    if not path.is_file():
        start = time.process_time()
        make()
        storage.write_json(path, time.process_time() - start)
    return float(storage.read_json(path))


def share_of_passes(sharding: Sharding, members: list[Member], gone: set[str]) -> float:
    """Passes of a request over those of training anew without its pictures."""
    keys = {stage.key for stage in sisa.stages(sharding, members)}
    after = sisa.stages(sharding, [member for member in members if member.id not in gone])
    return sum(stage.passes for stage in after if stage.key not in keys) / sum(stage.passes for stage in after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--label")
    parser.add_argument("--train", type=int, default=3200)
    parser.add_argument(
        "--skip", type=int, default=800, help="pictures between those to train on and those to measure on"
    )
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--result", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    first = arguments.train + arguments.skip
    images = read_images(arguments.data, size=32, label=arguments.label, limit=first + arguments.test)
    known, new = images.take(np.arange(arguments.train)), images.take(np.arange(first, len(images)))
    pictures, test, classes = tensors(known), tensors(new), len(images.classes)
    recipe = make(ImageRecipe, {"data": arguments.data, "forget": "random:1", "seed": arguments.seed}, {})
    fitting, method, out = recipe.fitting, Sisa(), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    sharding = Sharding(
        shards=method.shards,
        slices=method.slices,
        seed=recipe.seed,
        epochs=fitting.num_train_epochs,
        learning_rate=fitting.learning_rate,
        optimizer=fitting.optimizer,
        weight_decay=fitting.weight_decay,
        batch_size=method.batch_size,
        class_weights=fitting.class_weights,
        flip=method.flip,
        origin={"model": recipe.model, "classes": list(images.classes), "size": 32},
    )
    new_model = partial(new_classifier, recipe.model, images.classes)
    members = sisa.placed(sharding, known.ids, pictures)

    def whole() -> None:
        seed = random_seed(recipe.seed, "base") % (1 << 31)
        weights = balancing(pictures, classes)
        work = Work(
            task=new_model(seed), retain=pictures, forget=pictures, validation=None, classes=classes, seed=seed,
            class_weights=weights,
        )  # fmt: skip
        fit(work, fitting_phase(recipe))
        save_classifier(work.task, out / "whole", 32)

    def sharded(name: str, left: list[Member], reuse: Path | None = None) -> Callable[[], None]:
        def make() -> None:
            train(sharding, left, Data(known.ids, pictures, images.classes), out / name, new_model, reuse=reuse)
            write_index(out / name, sharding, left, images.classes, 32, method.vote)

        return make

    # Pictures of one shard and slice cost the same.
    places = {(member.shard, member.slice): member.id for member in members}
    cost = {place: share_of_passes(sharding, members, {id_}) for place, id_ in places.items()}
    shares = [cost[member.shard, member.slice] for member in members]
    # The request whose seconds are measured is one whose passes are closest to the mean.
    left = sisa.without(members, [members[int(np.argmin(np.abs(np.array(shares) - np.mean(shares))))].id])
    seconds = {
        "whole": spent(out / "whole.json", whole),
        "sisa": spent(out / "sisa.json", sharded("sisa", members)),
        "request": spent(out / "request.json", sharded("request", left, out / "sisa")),
        "anew": spent(out / "anew.json", sharded("anew", left)),
    }

    generator = np.random.default_rng(arguments.seed)
    requests = {
        str(count): {
            "measured": float(
                np.mean(
                    [
                        share_of_passes(sharding, members, set(generator.choice(known.ids, count, replace=False)))
                        for _ in range(arguments.draws)
                    ]
                )
            ),
            "expected": sisa.expected_share(sharding.shards, sharding.slices, count),
        }
        for count in REQUESTS
    }
    labels = test.labels.numpy()
    predicted = {
        name: load_any(locate_classifier(str(out / name)), images.classes, 32).outputs(test).numpy().argmax(1)
        for name in ("whole", "sisa", "request")
    }
    right = {name: (found == labels).astype(float).tolist() for name, found in predicted.items()}
    balanced = {name: balanced_accuracy(found, labels) for name, found in predicted.items()}
    result: dict[str, Any] = {
        "pictures": {"train": len(known), "test": len(new)},
        "shards": sharding.shards,
        "slices": sharding.slices,
        "one_picture_share_of_training_the_shards_anew": {
            "mean": float(np.mean(shares)),
            "largest": float(np.max(shares)),
            "formula": sisa.expected_share(sharding.shards, sharding.slices, 1),
        },
        "passes_of_shards_over_those_of_one_whole_model": sum(s.passes for s in sisa.stages(sharding, members))
        / (3 * fitting.num_train_epochs * len(known)),
        "requests_of_random_pictures": requests,
        "processor_seconds": {name: round(value, 2) for name, value in seconds.items()},
        "request_over_shards_anew_seconds": round(seconds["request"] / seconds["anew"], 4),
        "request_over_whole_anew_seconds": round(seconds["request"] / seconds["whole"], 4),
        "bit_for_bit": storage.digest_folder(out / "request") == storage.digest_folder(out / "anew"),
        "accuracy": {name: share_interval(values) for name, values in right.items()},
        "accuracy_sisa_minus_whole": paired_share_interval(right["whole"], right["sisa"]),
        "balanced_accuracy": {name: [found.value, found.low, found.high] for name, found in balanced.items()},
        "seed": arguments.seed,
        "threads": 1,
        "versions": versions(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.result is not None:
        arguments.result.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
