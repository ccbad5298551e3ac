"""Golden runs of language models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import expunge
from golden_doing import Golden, afterwards, carried_out, command, evaluated, typed_run
from golden_inputs import Place, digest
from golden_recording import Recording, keys, scores, text_lines, weights
from small import SMALL

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
