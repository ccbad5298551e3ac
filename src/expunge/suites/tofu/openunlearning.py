"""OpenUnlearning's evaluation files: `TOFU_EVAL.json` and `MUSE_EVAL.json` with the rows of every measure, and
`TOFU_SUMMARY.json` and `MUSE_SUMMARY.json` with only the means."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import DataError
from expunge.measures.language.answers import truth_ratio_forget, truth_ratio_retain
from expunge.measures.statistics import share_interval

Value = Callable[[Mapping[str, Any]], float]
"the measure of one row of `value_by_index`"


def _field(name: str) -> Value:
    return lambda row: float(row[name])


def _ratio(of: Callable[[float], float]) -> Value:
    return lambda row: of(math.log(max(float(row["score"]), 1e-300)))


TOFU: dict[str, tuple[str, Value | None]] = {
    "forget_quality": ("forget_quality", None),
    "model_utility": ("model_utility", None),
    "privleak": ("privleak", None),
    "forget_Q_A_Prob": ("forget/probability", _field("prob")),
    "forget_Q_A_ROUGE": ("forget/rouge_l_recall", _field("rougeL_recall")),
    "forget_truth_ratio": ("forget/truth_ratio", _ratio(truth_ratio_forget)),
    "extraction_strength": ("forget/extraction_strength_openunlearning", _field("score")),
    "exact_memorization": ("forget/exact_memorization", _field("score")),
    "retain_Q_A_Prob": ("retain/probability", _field("prob")),
    "retain_Q_A_ROUGE": ("retain/rouge_l_recall", _field("rougeL_recall")),
    "retain_Truth_Ratio": ("retain/truth_ratio", _ratio(truth_ratio_retain)),
    "ra_Q_A_Prob_normalised": ("real_authors/probability_options", _field("prob")),
    "ra_Q_A_ROUGE": ("real_authors/rouge_l_recall", _field("rougeL_recall")),
    "ra_Truth_Ratio": ("real_authors/truth_ratio", _ratio(truth_ratio_retain)),
    "wf_Q_A_Prob_normalised": ("world_facts/probability_options", _field("prob")),
    "wf_Q_A_ROUGE": ("world_facts/rouge_l_recall", _field("rougeL_recall")),
    "wf_Truth_Ratio": ("world_facts/truth_ratio", _ratio(truth_ratio_retain)),
}
"OpenUnlearning's name -> ours, and the key of a row's value; None if rows have none"
MUSE: dict[str, tuple[str, Value | None]] = {
    "forget_verbmem_ROUGE": ("verbmem/rouge_l_f1", _field("rougeL_f1")),
    "forget_knowmem_ROUGE": ("forget_qa/rouge_l_f1", _field("rougeL_f1")),
    "retain_knowmem_ROUGE": ("retain_qa/rouge_l_f1", _field("rougeL_f1")),
    "privleak": ("privleak", None),
    "extraction_strength": ("verbmem/extraction_strength_openunlearning", _field("score")),
    "exact_memorization": ("verbmem/exact_memorization", _field("score")),
}
"the same for MUSE: it stems words, so its ROUGE is our `rouge_l_f1`; its passages are not cut at 128 tokens"


def read_evaluation(path: Path) -> dict[str, dict[str, Any]]:
    """The measures in one of OpenUnlearning's files, by our names: value, and limits and n if it has the rows.

    Raises:
        DataError: not JSON, or no common measures, or measures of both benchmarks.
    """
    with storage.reading(path):
        content = path.read_bytes()
    try:
        logs = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON", seen=error, next_step="give the file as it was written") from error
    found = {}
    names = _names(path, logs if isinstance(logs, dict) else {})
    for name, entry in logs.items() if isinstance(logs, dict) else ():
        if name not in names:
            continue
        measure, value = names[name]
        mean = entry.get("agg_value") if isinstance(entry, dict) else entry
        if isinstance(mean, bool) or not isinstance(mean, int | float) or not math.isfinite(mean):
            continue
        found[measure] = _measured(path, name, entry, float(mean), value)
    if not found:
        raise DataError(
            f"{path} is not an evaluation of TOFU or MUSE by OpenUnlearning",
            seen=", ".join(map(str, list(logs)[:6])) if isinstance(logs, dict) else type(logs).__name__,
            allowed="TOFU_EVAL.json or TOFU_SUMMARY.json, or those of MUSE",
        )
    return found


def _names(path: Path, logs: Mapping[str, Any]) -> Mapping[str, tuple[str, Value | None]]:
    """The names of the benchmark that a file is of: by measures that only one has, else by the file's name."""
    of_tofu, of_muse = (TOFU.keys() - MUSE.keys()) & logs.keys(), (MUSE.keys() - TOFU.keys()) & logs.keys()
    if of_tofu and of_muse:
        raise DataError(
            f"{path} has measures of TOFU and of MUSE",
            seen=f"{min(of_tofu)}, {min(of_muse)}",
            next_step="give the file as it was written",
        )
    return MUSE if of_muse or (not of_tofu and path.name.upper().startswith("MUSE")) else TOFU


def _measured(path: Path, name: str, entry: Any, mean: float, value: Value | None) -> dict[str, Any]:
    rows = entry.get("value_by_index") if isinstance(entry, dict) else None
    if value is None or not isinstance(rows, dict) or not rows:
        return {"value": mean, "low": None, "high": None, "n": None}
    try:
        values = [value(row) for row in rows.values() if None not in row.values()]  # a row without an answer has none
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path}: the rows of {name} cannot be read",
            seen=f"{type(error).__name__}: {error}",
            next_step="give the file as it was written, or the SUMMARY next to it",
        ) from error
    if not values or not all(map(math.isfinite, values)):
        return {"value": mean, "low": None, "high": None, "n": None}
    _, low, high = share_interval(values)
    return {"value": mean, "low": min(low, mean), "high": max(high, mean), "n": len(values)}
