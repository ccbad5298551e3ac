"""Golden runs of classifiers and generators of pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from golden_doing import Golden, afterwards, carried_out, command, evaluated
from golden_inputs import Place
from golden_recording import Recording, page_lines

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
