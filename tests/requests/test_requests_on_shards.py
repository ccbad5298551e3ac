"""Requests on a sharded classifier (SISA): each leaves what training without its pictures leaves, bit for bit."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import yaml

from expunge.core import storage
from expunge.kinds.sharded_classifier.model import read_sharded
from expunge.requests.ledger import Ledger
from expunge.requests.showing import facts
from expunge.requests.work import batches, run_batch
from small_images import pictures

COUNT = 64


def test_requests_one_after_another_are_exact(tmp_path: Path) -> None:
    made = pictures(COUNT, side=8)
    people = np.arange(COUNT) // 4
    images = np.moveaxis(made.pixels.numpy(), 1, 3)
    np.savez(tmp_path / "faces.npz", images=images, label=made.labels.numpy(), person=people)
    fields = {
        "task": "image_classifier",
        "data": str(tmp_path / "faces.npz"),
        "forget": "filled in",
        "retrained": "train",
        "method": {"name": "sisa", "shards": 2, "slices": 2, "together": "person"},
        "images": {"size": 8},
        "fitting": {"num_train_epochs": 1},
        "allow_chance_base": True,  # an epoch teaches nothing
        "verdict": {"share_of_retraining": 0.9},  # of two shards one is half
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(fields))
    with closing(Ledger.open_or_create(tmp_path / "ledger")) as ledger:
        for person in (3, 7):
            names = tmp_path / f"person{person}.csv"
            names.write_text(f"person\n{person}\n")
            ledger.add(f"CUSTOMER-{person}", [names])
        folders = [
            run_batch(ledger, each, recipe, {}, tmp_path / "runs") for each in batches(ledger, ledger.requests(), False)
        ]
        assert [each.state for each in ledger.requests()] == ["passed", "passed"]
        for folder in folders:
            assert storage.read_json(folder.record)["exact"]["equal_to_retrained"] is True
        left = {int(member.id) // 4 for member in read_sharded(str(folders[1].path)).members}
        assert left.isdisjoint({3, 7})
        assert len(left) == 14
        first, second = (ledger.last(number, "passed") for number in (1, 2))
        assert first is not None
        assert second is not None
        assert second["parent"] == first["model"]
        assert second["earlier"] == [{"run": "R000001", "requests": [1], "back": [], "measured": True}]
        assert facts(ledger, 2)["came_from"][0] == first["model"]
