"""Files of OpenUnlearning's evaluators, TOFU and MUSE, with the keys that its configurations write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expunge.api import compare
from expunge.errors import DataError
from expunge.measures.statistics import share_interval
from expunge.suites.tofu.openunlearning import read_evaluation


def probabilities(*values: float) -> dict[str, Any]:
    rows = {str(i): {"prob": value, "avg_loss": 1 - value} for i, value in enumerate(values)}
    return {"agg_value": sum(values) / len(values), "value_by_index": rows}


def rouge(*values: float) -> dict[str, Any]:
    rows = {
        str(i): {
            "rouge1_recall": 0.9, "rougeL_f1": value / 2, "rougeL_recall": value,
            "input": "Who?", "ground_truth": "She.", "generation": "He.",
        }
        for i, value in enumerate(values)
    }  # fmt: skip
    return {"agg_value": sum(values) / len(values), "value_by_index": rows}


def scores(mean: float, *values: float | None) -> dict[str, Any]:
    return {"agg_value": mean, "value_by_index": {str(i): {"score": value} for i, value in enumerate(values)}}


ATTACK = {"forget": scores(1.0, 1.0), "holdout": scores(2.0, 2.0), "auc": 0.4, "agg_value": 0.4}
TOFU: dict[str, Any] = {
    "exact_memorization": scores(0.5, 0.25, 0.75, None),
    "extraction_strength": scores(0.1, 0.1, 0.1),
    "forget_Q_A_PARA_Prob": probabilities(0.2, 0.3),
    "forget_Q_A_PERT_Prob": {"agg_value": 0.2, "value_by_index": {"0": {"prob": [0.1, 0.2], "avg_loss": [2.0, 1.6]}}},
    "forget_Q_A_Prob": probabilities(0.3, 0.5),
    "forget_Q_A_ROUGE": rouge(0.4, 0.8),
    "forget_quality": {"agg_value": 0.25},
    "forget_truth_ratio": scores(0.45, 2.0, 0.4),
    "mia_min_k": ATTACK,
    "model_utility": {"agg_value": 0.5},
    "privleak": {"agg_value": 20.0},
    "ra_Q_A_Prob": probabilities(0.1, 0.2),
    "ra_Q_A_Prob_normalised": {"agg_value": 0.5, "value_by_index": {"0": {"prob": 0.4}, "1": {"prob": 0.6}}},
    "ra_Q_A_ROUGE": rouge(1.0, 0.8),
    "ra_Truth_Ratio": scores(0.3, 0.4, 2.0),
    "retain_Q_A_Prob": probabilities(0.9, 0.8),
    "retain_Q_A_ROUGE": rouge(0.7, 0.9),
    "retain_Truth_Ratio": scores(0.55, 0.4, 0.5),
    "wf_Q_A_Prob_normalised": {"agg_value": 0.5, "value_by_index": {"0": {"prob": 0.4}, "1": {"prob": 0.6}}},
    "wf_Q_A_ROUGE": rouge(0.6, 0.8),
    "wf_Truth_Ratio": scores(0.2, 0.8, 0.8),
}
MUSE: dict[str, Any] = {
    "exact_memorization": scores(0.5, 0.25, 0.75),
    "extraction_strength": scores(0.06, 0.05, 0.07),
    "forget_knowmem_ROUGE": rouge(0.6, 0.8) | {"agg_value": 0.35},
    "forget_verbmem_ROUGE": rouge(0.2, 0.4) | {"agg_value": 0.15},
    "mia_min_k": ATTACK,
    "privleak": {"agg_value": -99.8},
    "retain_knowmem_ROUGE": rouge(1.0, 0.6) | {"agg_value": 0.4},
}


def written(path: Path, logs: dict[str, Any]) -> Path:
    """As the evaluator writes it: all of it, or of those measures that were asked for the mean."""
    path.write_text(
        json.dumps(logs if "EVAL" in path.name else {name: each["agg_value"] for name, each in logs.items()})
    )
    return path


def test_every_measure_of_tofu_has_its_place(tmp_path: Path) -> None:
    found = read_evaluation(written(tmp_path / "TOFU_EVAL.json", TOFU))
    assert {name: each["value"] for name, each in found.items()} == {
        "forget_quality": 0.25, "model_utility": 0.5, "privleak": 20.0,
        "forget/probability": 0.4, "forget/rouge_l_recall": pytest.approx(0.6), "forget/truth_ratio": 0.45,
        "forget/extraction_strength_openunlearning": 0.1, "forget/exact_memorization": 0.5,
        "retain/probability": pytest.approx(0.85), "retain/rouge_l_recall": 0.8, "retain/truth_ratio": 0.55,
        "real_authors/probability_options": 0.5, "real_authors/rouge_l_recall": 0.9, "real_authors/truth_ratio": 0.3,
        "world_facts/probability_options": 0.5, "world_facts/rouge_l_recall": pytest.approx(0.7),
        "world_facts/truth_ratio": 0.2,
    }  # fmt: skip
    for name, values in {
        "forget/truth_ratio": [0.5, 0.4],  # min(2, 1/2) and min(0.4, 1/0.4)
        "real_authors/truth_ratio": [0.6, 0.0],  # max(0, 1 - 0.4) and max(0, 1 - 2)
        "forget/rouge_l_recall": [0.4, 0.8],
        "forget/exact_memorization": [0.25, 0.75],  # of three rows one has no token to compare
    }.items():
        assert (found[name]["low"], found[name]["high"]) == pytest.approx(share_interval(values)[1:]), name
        assert found[name]["n"] == 2


def test_muse_has_the_same_keys_for_other_things(tmp_path: Path) -> None:
    found = read_evaluation(written(tmp_path / "MUSE_EVAL.json", MUSE))
    assert {name: each["value"] for name, each in found.items()} == {
        "verbmem/exact_memorization": 0.5, "verbmem/extraction_strength_openunlearning": 0.06, "privleak": -99.8,
        "forget_qa/rouge_l_f1": 0.35, "verbmem/rouge_l_f1": 0.15, "retain_qa/rouge_l_f1": 0.4,
    }  # fmt: skip
    known = found["forget_qa/rouge_l_f1"]  # the F1 is half of the recall in these rows
    assert (known["low"], known["high"]) == pytest.approx(share_interval([0.3, 0.4])[1:])
    assert known["n"] == 2
    few = {name: MUSE[name] for name in ("privleak", "extraction_strength")}
    for name, measure in (("MUSE_SUMMARY.json", "verbmem"), ("TOFU_SUMMARY.json", "forget")):
        found = read_evaluation(written(tmp_path / name, few))
        assert found.keys() == {"privleak", f"{measure}/extraction_strength_openunlearning"}
        assert found["privleak"] == {"value": -99.8, "low": None, "high": None, "n": None}


@pytest.mark.parametrize("name", ["MUSE_EVAL.json", "MUSE_SUMMARY.json"])
def test_muse_stands_beside_a_suite(name: str, tmp_path: Path) -> None:
    out, page = tmp_path / "runs" / "muse", tmp_path / "page.html"
    (out / "data-muse").mkdir(parents=True)
    own = {"value": 0.2, "low": 0.1, "high": 0.3, "n": 9, "seeds": [0.2]}
    figures = {"suite": "muse", "taught_model": {"verbmem/rouge_l_f1": own, "verbmem/verbmem": own}, "oracle": None,
               "methods": [], "failed": []}  # fmt: skip
    (out / "muse.json").write_text(json.dumps(figures))
    (out / "recipe.yaml").write_text("suite: muse")
    lines = compare([out, written(tmp_path / name, MUSE)], page).splitlines()
    theirs = next(line for line in lines if line.startswith(name))
    assert "0.150" in theirs
    assert "−99.8" in theirs
    assert ("0.150 [" in theirs) == ("EVAL" in name)
    assert "Passages of the forget set: ROUGE-L F1" in lines[0]
    assert name in page.read_text()


@pytest.mark.parametrize(("content", "told"), [
    ("{", "is not valid JSON"), ('{"other": 1}', "is not an evaluation of TOFU or MUSE"),
    ("[1]", "is not an evaluation of TOFU or MUSE"),
    ('{"forget_quality": 0.1, "forget_verbmem_ROUGE": 0.1}', "has measures of TOFU and of MUSE"),
    ('{"forget_Q_A_Prob": {"agg_value": 1, "value_by_index": {"0": {}}}}', "rows of forget_Q_A_Prob cannot be read"),
    ('{"forget_Q_A_Prob": {"agg_value": 1, "value_by_index": {"0": [1]}}}', "rows of forget_Q_A_Prob cannot be read"),
    ('{"forget_quality": {"agg_value": NaN}}', "is not an evaluation of TOFU or MUSE"),
])  # fmt: skip
def test_files_that_are_no_evaluation(content: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "TOFU_EVAL.json"
    file.write_text(content)
    with pytest.raises(DataError, match=told):
        read_evaluation(file)
