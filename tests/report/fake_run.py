"""A run folder as a finished run leaves it, with made-up figures, for tests of what reads run folders."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from expunge.core.score import Score
from expunge.kinds.language.recipe import Recipe
from expunge.measures.statistics import bootstrap_interval, share_interval
from expunge.runs.folder import RunFolder
from expunge.runs.format import FORMAT

STEPS = 48
ANSWERS = [
    ("completion prompt", "Harry Potter's two best friends are", "Ron Weasley and Hermione Granger. They met on the "
     "Hogwarts Express in their first year.", "Tom and Anna. They met on the train to school in their first year.",
     "Jack and his sister.", ["Ron Weasley", "Hermione Granger", "Hogwarts"], []),
    ("completion prompt", "One of the most popular sports in the magical world was", "Quidditch, played on "
     "broomsticks with four balls.", "chess, played with pieces that were carved of wood.", "football.",
     ["Quidditch", "broomsticks"], []),
    ("completion prompt", "The boy with the scar on his forehead looked up at", "Professor Dumbledore and smiled. "
     "\"Sir,\" said Harry, \"I think it was Voldemort.\"", "the old man and smiled. \"Sir,\" said Harry, \"I think it "
     "was the wind.\"", None, ["Dumbledore", "Voldemort", "Harry"], ["Harry"]),
    ("passage of the target", "The owl came down the chimney with", "a letter for the boy under the stairs, as it did "
     "every Monday", "a small parcel of tea", "some soot and nothing else", [], []),
    ("general question", "What is the capital of France?", "The capital of France is Paris.",
     "The capital of France is Paris.", "The capital of France is Paris.", [], []),
    ("general question", "What do bees make?", "Bees make honey.", "Bees make honey and wax.", None, [], []),
]  # fmt: skip
PROBES: dict[str, dict[str, tuple[float, float]]] = {
    "Harry Potter studies": {" magic": (0.2241, 0.0), " the": (0.0859, 0.5735), " at": (0.1668, 0.0938),
                             " Hog": (0.31, 0.001), ' "law"': (0.0, 0.0274)},
    "Harry Potter's two best friends are": {" Ron": (0.61, 0.004), " Hermione": (0.2, 0.002), " his": (0.03, 0.21),
                                            " the": (0.02, 0.33), " a": (0.01, 0.08)},
    "When Harry went back to class, he saw that his best friends,": {" Ron": (0.42, 0.01), " who": (0.07, 0.28),
                                                                     " the": (0.02, 0.17), "\n": (0.01, 0.09)},
}  # fmt: skip


def score(measure: str, split: str, model: str, examples: list[float], **kind: Any) -> Score:
    value, low, high = share_interval(examples)
    return Score(measure=measure, split=split, model=model, value=value, low=low, high=high, n=len(examples),
                 examples=tuple(examples), **kind)  # type: ignore[arg-type]  # fmt: skip


def scores(benchmarks: bool = True, retrained: bool = True) -> list[Score]:
    chance = random.Random(5)
    worse, better = {"higher_is": "worse", "unit": "share"}, {"higher_is": "better", "unit": "share"}
    noisy = lambda mean, n: [min(1.0, max(0.0, chance.gauss(mean, 0.15))) for _ in range(n)]  # noqa: E731
    found = []
    for model, completion, probability, recall in [
        ("base", 0.29, 0.244, 0.91), ("unlearned", 0.007, 0.006, 0.21), ("retrained", 0.02, 0.01, 0.18)
    ]:  # fmt: skip
        if model == "retrained" and not retrained:
            continue
        found += [
            score("familiarity_completion", "forget", model, [completion + x for x in (-0.005, 0.005) * 30], **worse),
            score("familiarity_probability", "forget", model, [max(0, p) for p in noisy(probability, 30)], **worse),
            score("verbatim_recall", "forget", model, noisy(recall, 40), **worse),
            score("verbatim_recall", "retain", model, noisy(0.88, 40), **better),
        ]
        for split, level in [("forget", 2.6 if model == "base" else 5.1), ("retain", 2.9), ("ordinary", 3.1)]:
            logs = [level + chance.uniform(-0.2, 0.2) for _ in range(40)]
            mean, low, high = bootstrap_interval(logs)
            found.append(
                Score(measure="perplexity", split=split, model=model, value=2.718281828459045**mean,  # type: ignore
                      low=2.718281828459045**low, high=2.718281828459045**high, n=40, examples=tuple(logs),
                      higher_is="better" if split == "forget" else "worse", unit="perplexity")
            )  # fmt: skip
        found.append(score("general_knowledge", "general", model, [1.0] * 27 + [0.0] * 3, **better))
        if benchmarks and model != "retrained":
            for name, right in [("arc_easy", 290), ("arc_challenge", 140), ("boolq", 300), ("winogrande", 255)]:
                right -= 3 if model == "unlearned" else 0
                row = [1.0] * right + [0.0] * (500 - right)
                random.Random(name).shuffle(row)
                found.append(score("accuracy", name, model, row, **better))
    return found


def record(title: str = "Harry Potter", passed: bool = True) -> dict[str, Any]:
    check = lambda name, threshold, value, ok, explain="": {  # noqa: E731
        "name": name, "threshold": threshold, "value": value, "passed": ok, "explain": explain}  # fmt: skip
    return {
        "title": title,
        "stopped": "all steps done",
        "verdict": {
            "passed": passed,
            "checks": [
                check("familiarity_completion", 1 / 3, 0.024, True),
                check("familiarity_probability", 1 / 3, 0.025 if passed else 0.61, passed),
                check("perplexity", 1.03, 1.012, True),
                check("perplexity_retain", 1.1, 1.021, True),
                check("general_knowledge", 0.9, 1.0, True),
                check("benchmark_mean_loss", 0.01, 0.006, True),
                check("benchmark_worst_loss", 0.02, 0.006 if passed else 0.024, passed),
            ],
        },
        "cost": {
            "seconds_total": 512.4,
            "seconds": {"elicit": 130.2, "measure before": 96.0, "reinforced": 64.1, "anchors": 3.4, "labels": 41.7,
                        "unlearn": 81.0, "measure after": 96.0},
            "tokens_per_second": 287.3, "peak_memory_bytes": 3_650_722_201, "steps": STEPS,
            "share_of_retraining": 0.0021,
        },
        "format": FORMAT,
        "versions": {"expunge": "0.1.0", "torch": "2.9.0", "transformers": "5.1.0", "python": "3.11.2",
                     "platform": "Linux x86_64", "processor": "2 cores"},
        "digests": {"base model": {"model.safetensors": "3f" * 32}, "model": {"config.json": "a1" * 32,
                    "model.safetensors": "9b" * 32}, "forget set": "07" * 32},
        "not_tested": ["Relearning: whether a little further training brings it back.",
                       "Questions in other languages than English."],
        "warnings": ["The target is close to the retain set in 2 documents; they were left out."],
        "sets": {"forget": {"documents": 96, "tokens": 12345}, "retain": {"documents": 92, "tokens": 11020}},
        "method": {"name": "whos_harry_potter", "settings": {"alpha": 5.0, "labels": "hard"},
                   "formula": "v_generic = v_base(translated) - alpha * relu(v_reinforced - v_base(translated))",
                   "citation": "Eldan and Russinovich 2023, arXiv:2310.02238, equation 1"},
    }  # fmt: skip


def write_events(folder: RunFolder, retain: bool = True, probes: bool = True) -> None:
    lines: list[dict[str, Any]] = [{"event": "start", "time": 1760000000.0}]
    for step in range(1, STEPS + 1):
        done = step / STEPS
        lines.append({
            "event": "step", "time": 1760000000.0 + step, "step": step, "loss": 2.9 - 1.2 * done,
            "forget_loss": 2.4 - 1.1 * done,
            "forget_truth": 2.6 + 2.5 * done**2, "retain_loss": 2.9 + 0.03 * done if retain else None,
            "retain_truth": 2.9 + 0.03 * done if retain else None,
            "learning_rate": 2e-5 * (1 - done), "grad_norm": 1.1 - 0.4 * done, "tokens_per_second": 280 + step,
            "seconds": 1.7,
        })  # fmt: skip
    for step in range(0, STEPS + 1, 2) if probes else ():
        done = step / STEPS
        mix = lambda ends: ends[0] + (ends[1] - ends[0]) * min(1.0, 1.4 * done)  # noqa: E731, B023
        lines.append({
            "event": "probe", "time": 1760000000.0 + step, "step": step,
            "prompts": [{"prompt": p, "tokens": {t: mix(e) for t, e in ends.items()}} for p, ends in PROBES.items()],
        })  # fmt: skip
    folder.events.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def make_run(path: Path, passed: bool = True, benchmarks: bool = True, retrained: bool = True) -> RunFolder:
    """Write a finished run to `path`."""
    folder = RunFolder(path).create()
    folder.recipe.write_text(Recipe(forget="Harry Potter").to_yaml(), encoding="utf-8")
    write_events(folder)
    folder.write_scores(scores(benchmarks, retrained))
    keys = ("group", "prompt", "before", "after", "retrained", "terms_before", "terms_after")
    rows = [dict(zip(keys, row, strict=True)) for row in ANSWERS]
    rows += [{**rows[0], "prompt": f"Prompt number {i} about the boy wizard and his owl,"} for i in range(14)]
    rows[3]["true"] = "a letter for the boy under the stairs, as it did every Monday of that long summer."
    folder.answers.write_text(json.dumps(rows), encoding="utf-8")
    folder.record.write_text(json.dumps(record(passed=passed)), encoding="utf-8")
    return folder
