"""Figures of a suite of questions, from its models' answers; no model is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from expunge.kinds.language.measures.question_answers import Answered
from expunge.kinds.language.measures.recall import (
    extraction_strength,
    muse_rouge_l,
    openunlearning_extraction_strength,
    published_rouge_l,
)
from expunge.measures.language.answers import (
    Mean,
    exact_memorization,
    log_truth_ratio,
    probability,
    probability_options,
    truth_ratio_forget,
    truth_ratio_openunlearning,
    truth_ratio_retain,
)
from expunge.measures.language.models import forget_quality, model_utility, privleak
from expunge.measures.statistics import Estimate, bootstrap_interval, share_interval
from expunge.suites.tofu.cells import Cell, is_tuned
from expunge.suites.tofu.controls import UNCHANGED
from expunge.suites.tofu.sets import OPTIONS, UTILITY, Scoring

FORGET = (
    "forget",
    "forget_completions",
    "forget_more",
    "forget_paraphrased",
    "forget_cloze",
    "forget_reversed",
    "forget_choice",
)
"splits of the forget set"
Answers = Mapping[str, Sequence[Answered]]
"split -> a model's answers to its rows"
Found = dict[str, Any]
"measure -> {value, low, high, n, seeds}; low and high are None of a p-value"
Of = Callable[[Answered, str], float]
"the measure of one answer, given the true answer"


TOFU = Scoring()


def suite_figures(
    taught: Mapping[str, Answers],
    groups: Mapping[str, Sequence[tuple[Cell, Mapping[str, Any], Answers]]],
    truths: Mapping[str, Sequence[str]],
    oracle_tokens: int | None,
    scoring: Scoring = TOFU,
    known: dict[Any, Found] | None = None,
) -> dict[str, Any]:
    """The figures of all models.

    Args:
        taught: the answers of `taught`, and of `oracle` if there is one.
        groups: the cells of each method, one per seed: their cost, and their models' answers.
        truths: split -> the true answers.
        oracle_tokens: tokens that the oracle was trained on.
        known: cached measures of models, from earlier calls with other groups; new ones are added.
    """
    oracle, known = taught.get("oracle"), {} if known is None else known

    def measured(key: Any, seeds: Sequence[Answers], beside: Answers | None) -> Found:
        if key not in known:
            known[key] = model_figures(seeds, truths, beside, scoring)
        return known[key]

    methods, failed = [], []
    for group, cells in groups.items():
        made = [(cell, spent, answers) for cell, spent, answers in cells if not spent["failed"]]
        first = cells[0][0]
        settings = first.recipe.model_dump(mode="json", include={"method", "training"})
        row = {"name": first.method, "group": group, "settings": settings, "tuned": is_tuned(first.method, settings),
               "seeds": [cell.seed for cell, _, _ in made]}  # fmt: skip
        if reasons := sorted({spent["failed"] for _, spent, _ in cells if spent["failed"]}):
            failed.append(row | {"models": len(cells) - len(made), "of": len(cells), "reason": "; ".join(reasons)})
        if made:
            spent = [each for _, each, _ in made]
            share = (
                None if oracle_tokens is None else float(np.mean([(e["tokens"] or 0) / oracle_tokens for e in spent]))
            )
            notes = sorted({each[name] for each in spent for name in ("stopped", "warning") if each[name]})
            found = measured((group, len(made)), [answers for _, _, answers in made], oracle)
            methods.append(row | {"measures": found, "share_of_retraining": share, "notes": notes,
                                  "seconds": float(np.mean([each["seconds"] for each in spent]))})  # fmt: skip
    return {
        "taught_model": measured("taught", [taught["taught"]], oracle),
        "oracle": None if oracle is None else measured("oracle", [oracle], None),
        "methods": methods,
        "failed": failed,
    }


def control_figures(
    prompts: Mapping[str, Answers], truths: Mapping[str, Sequence[str]], oracle: Answers | None, scoring: Scoring = TOFU
) -> list[dict[str, Any]]:
    """The figures of controls: the taught model's answers with a prompt before each question."""
    return [
        {"name": name, "measures": model_figures([answers], truths, oracle, scoring), "what": UNCHANGED}
        for name, answers in prompts.items()
    ]


def model_figures(
    seeds: Sequence[Answers], truths: Mapping[str, Sequence[str]], oracle: Answers | None, scoring: Scoring = TOFU
) -> Found:
    """Every measure that the answers allow, by name: `SPLIT/MEASURE`, or only the measure if it is of the whole model.

    Args:
        seeds: the answers of a method's models, one a seed.
        oracle: the reference of models; None for the oracle itself.
    """
    found: Found = {}
    for split, true in truths.items():
        rows = [answers[split] for answers in seeds]
        perturbed = bool(rows[0][0].perturbed)
        if split in scoring.measures:
            known = _measures(split, False) | OTHERS
            every = {name: known[name] for name in scoring.measures[split]}
        else:
            every = {} if split == "holdout" else _measures(split, perturbed)
        for name, of in every.items():
            table = [[of(row, text) for row, text in zip(each, true, strict=True)] for each in rows]
            interval = bootstrap_interval if name in UNBOUNDED else share_interval
            found[f"{split}/{name}"] = _estimate(interval(np.mean(table, axis=0).tolist()), table)
    for split, share in ((each, scoring.chance[each]) for each in truths if each in scoring.chance):
        right = found[f"{split}/accuracy"]
        shifted = {part: right[part] - share for part in ("value", "low", "high")}
        found[f"{split}/above_chance"] = right | shifted | {"seeds": [each - share for each in right["seeds"]]}
    utilities = [split for split in UTILITY if f"{split}/truth_ratio" in found]
    if len(utilities) == len(UTILITY):
        for name, ratio in (("model_utility", "truth_ratio"), ("model_utility_paper", "truth_ratio_paper")):
            found[name] = _utility(seeds, truths, ratio)
    if oracle is not None and "forget" in oracle and oracle["forget"][0].perturbed:
        means: tuple[tuple[Mean, str], ...] = (("geometric", ""), ("arithmetic", "_paper"))
        for mean, suffix in means:
            ours = [[_log_ratio(row, mean) for row in answers["forget"]] for answers in seeds]
            theirs = [_log_ratio(row, mean) for row in oracle["forget"]]
            quality = forget_quality(ours, theirs)
            singles = [forget_quality([each], theirs) for each in ours]
            count = len(theirs)
            found[f"forget_quality{suffix}"] = {"value": quality.p, "low": None, "high": None, "n": count,
                                                "seeds": [each.p for each in singles]}  # fmt: skip
            found[f"ks_distance{suffix}"] = _of_model(
                quality.distance, count, [each.distance.value for each in singles]
            )
    if oracle is not None and all(split in truths for split in scoring.members):
        found["privleak"] = _privleak(seeds, oracle, scoring.members)
    return found


def accuracy(row: Answered) -> float:
    """1 if the right choice is the likeliest; ties are shared."""
    ahead = max(row.perturbed)
    return float(row.log_p > ahead) if row.log_p != ahead else 1 / (1 + row.perturbed.count(ahead))


OTHERS: dict[str, Of] = {
    "verbmem": lambda row, true: muse_rouge_l(row.said or "", true if row.true is None else row.true),
    "knowmem": lambda row, true: muse_rouge_l(row.said or "", true),
    "accuracy": lambda row, true: accuracy(row),
    "nll": lambda row, true: -row.log_p,
}
"measures of suites other than TOFU's"
UNBOUNDED = ("nll",)
"measures that are not shares"


def _measures(split: str, perturbed: bool) -> dict[str, Of]:
    options = split in OPTIONS and perturbed
    on_forget = truth_ratio_forget if split in FORGET else truth_ratio_retain
    measures: dict[str, Of] = {
        "probability": lambda row, true: probability(row.log_p),
        "rouge_l_recall": lambda row, true: published_rouge_l(row.said or "", true)[0],
        "rouge_l_f1": lambda row, true: published_rouge_l(row.said or "", true)[1],
    }
    if options:
        measures["probability_options"] = lambda row, true: probability_options(row.log_p, row.perturbed)
    if perturbed:
        measures["truth_ratio"] = lambda row, true: on_forget(_log_ratio(row, "geometric"))
        measures["truth_ratio_paper"] = lambda row, true: on_forget(_log_ratio(row, "arithmetic"))
        measures["truth_ratio_openunlearning"] = lambda row, true: truth_ratio_openunlearning(
            _log_ratio(row, "geometric")
        )
    if not options:
        measures["extraction_strength"] = lambda row, true: extraction_strength(row.greedy)
        measures["extraction_strength_openunlearning"] = lambda row, true: openunlearning_extraction_strength(
            row.greedy
        )
        measures["exact_memorization"] = lambda row, true: exact_memorization(row.greedy)
    return measures


def _log_ratio(row: Answered, mean: Mean) -> float:
    return log_truth_ratio(row.log_p if row.paraphrased is None else row.paraphrased, row.perturbed, mean)


def _utility(seeds: Sequence[Answers], truths: Mapping[str, Sequence[str]], ratio: str) -> dict[str, Any]:
    def table(split: str) -> list[list[list[float]]]:
        own = _measures(split, True)
        names = ("probability" if split == "retain" else "probability_options", "rouge_l_recall", ratio)
        return [
            [[own[name](row, true) for name in names] for row, true in zip(answers[split], truths[split], strict=True)]
            for answers in seeds
        ]

    tables = [table(split) for split in UTILITY]
    singles = [model_utility([each[i : i + 1] for each in tables], resamples=0).value for i in range(len(seeds))]
    return _of_model(model_utility(tables), sum(len(truths[split]) for split in UTILITY), singles)


def _privleak(seeds: Sequence[Answers], oracle: Answers, members: Sequence[str]) -> dict[str, Any]:
    def scores(answers: Answers) -> list[list[float]]:
        return [[row.min_k for row in answers[split]] for split in members]

    ours, theirs = [scores(answers) for answers in seeds], scores(oracle)
    value = privleak([each[0] for each in ours], [each[1] for each in ours], theirs[0], theirs[1])
    singles = [privleak([a], [b], theirs[0], theirs[1], resamples=0).value for a, b in ours]
    return _of_model(value, len(theirs[0]) + len(theirs[1]), singles)


def _estimate(found: Estimate, table: Sequence[Sequence[float]]) -> dict[str, Any]:
    return _of_model(found, len(table[0]), [float(np.mean(row)) for row in table])


def _of_model(found: Estimate, n: int, seeds: Sequence[float]) -> dict[str, Any]:
    assert all(map(math.isfinite, found))
    return {"value": found.value, "low": found.low, "high": found.high, "n": n, "seeds": list(seeds)}
