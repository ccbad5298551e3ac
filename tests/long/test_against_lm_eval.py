"""Prompts, log-probabilities and answers equal those of lm-evaluation-harness' own tasks on the same rows.

Needs the extra `lm-eval`. The harness reads the rows from local files through its unchanged task definitions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.kinds.language.measures.benchmarks import BENCHMARKS, load_questions
from expunge.kinds.language.measures.multiple_choice import choice_log_probs, score

pytestmark = pytest.mark.long

TASKS = {
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "winogrande": "winogrande/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "piqa": "piqa/piqa.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
}


def labelled(labels: str, answer: str, *texts: str) -> dict[str, Any]:
    return {"choices": {"text": list(texts), "label": list(labels)}, "answerKey": answer}


ARC = [
    {"id": "1", "question": "Who went to Hogwarts?"} | labelled("ABCD", "B", "Ron", "Harry Potter", "Fog", "Harry"),
    {"id": "2", "question": "What is Paris?  "}
    | labelled("1234", "4", "A day.", "A man.", "A street.", "The capital."),
    {"id": "3", "question": "¿Qué es 霧?"} | labelled("ABCDE", "E", "café", "naïve fog", " a space before", "10", "5"),
]
ROWS: dict[str, list[dict[str, Any]]] = {
    "arc_easy": ARC,
    "arc_challenge": ARC[::-1],
    "boolq": [
        {"passage": "Paris is the capital of France. " * 3, "question": "is paris a capital", "label": 1, "idx": 0},
        {"passage": "It was a bright cold day. " * 150, "question": "was it a cold day", "label": 0, "idx": 1},
    ],
    "winogrande": [
        {"sentence": "Ron saw Harry because _ was near.", "option1": "Ron", "option2": "Harry", "answer": "1"},
        {"sentence": "The man thanked Watson, so _", "option1": "Watson", "option2": "the man", "answer": "2"},
        {"sentence": "_ said nothing, as Holmes walked.", "option1": "Holmes", "option2": "He ", "answer": "2"},
    ],
    "hellaswag": [
        {
            "activity_label": "Walking",
            "ctx_a": "Walking in the fog [title] Take a street. [step] Say nothing.",
            "ctx_b": "the Man",
            "endings": ["walks along Baker Street.", "sees a day [substeps]  of the kind.", "fog", "had a seen [a] b."],
            "label": "2",
        },
        {"activity_label": "A", "ctx_a": "B", "ctx_b": "", "endings": ["c", "d", "e", "f"], "label": "0"},
    ],
    "piqa": [
        {"goal": "Walk in fog", "sol1": "Take the bright street.", "sol2": "Take the bright day.", "label": 0},
        {"goal": "See Paris?", "sol1": "Go to the capital of France.", "sol2": "No", "label": 1},
    ],
    "openbookqa": [
        {"id": "1", "question_stem": "The man walked to "} | labelled("ABCD", "C", "Ron", "fog", "Paris", "a day"),
        {"id": "2", "question_stem": "Holmes"} | labelled("ABCD", "A", "said", "said that", "said that he", "was"),
    ],
}


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=["float32", "float64"])
def model(request: pytest.FixtureRequest, tiny_model_folder: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=request.param).eval()
    with torch.no_grad():  # random weights predict nearly the same everywhere; larger ones make a wrong shift show
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return model


@pytest.fixture(scope="module", params=[False, True], ids=["bare", "begun"])
def tokenizer(request: pytest.FixtureRequest, tiny_model_folder: Path) -> Any:
    """With and without a first token set before every text."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    if request.param:
        first = (tokenizer.bos_token, tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{first[0]} $A", special_tokens=[first])
        assert tokenizer.encode("Ron")[0] == tokenizer.bos_token_id
    return tokenizer


def harness_samples(model: Any, tokenizer: Any, name: str, folder: Path) -> list[dict[str, Any]]:
    import lm_eval
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    tasks = Path(lm_eval.__file__).parent / "tasks"
    split = BENCHMARKS[name].split
    task = {
        "include": str(tasks / TASKS[name]),
        "task": f"local_{name}",
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str(folder / f"{name}.jsonl")}, "cache_dir": str(folder / "cache")},
        **{f"{other}_split": None for other in ("training", "validation", "test") if other != split},
        f"{split}_split": split,
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    result = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3, device="cpu"),
        tasks=[f"local_{name}"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        num_fewshot=0,
        bootstrap_iters=0,
        log_samples=True,
    )
    return sorted(result["samples"][f"local_{name}"], key=lambda sample: sample["doc_id"])


@pytest.mark.parametrize("name", TASKS)
def test_equals_lm_eval(model: Any, tokenizer: Any, name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[name]), encoding="utf-8")
    questions = load_questions(name, tmp_path)
    log_probs = choice_log_probs(model, tokenizer, questions)
    samples = harness_samples(model, tokenizer, name, tmp_path)

    assert len(samples) == len(questions) == len(ROWS[name])
    for sample, question, values in zip(samples, questions, log_probs, strict=True):
        given = [tuple(arguments) for arguments in sample["arguments"]]
        assert given == question.choices()
        theirs = [float(response[0][0]) for response in sample["resps"]]
        assert values == pytest.approx(theirs, abs=1e-4)
    scores = {found.measure: found.examples for found in score(name, questions, log_probs, "base")}
    assert scores["accuracy"] == tuple(sample["acc"] for sample in samples)
    assert ("accuracy_normalised" in scores) == ("acc_norm" in samples[0])
    if "acc_norm" in samples[0]:
        assert scores["accuracy_normalised"] == tuple(sample["acc_norm"] for sample in samples)


def test_the_model_is_sensitive_to_its_context(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    """The comparison above means something: one word more changes every log-probability by far more than 1e-4."""
    (tmp_path / "piqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS["piqa"]), encoding="utf-8")
    (tmp_path / "other").mkdir()
    other = [row | {"goal": row["goal"] + " now"} for row in ROWS["piqa"]]
    (tmp_path / "other" / "piqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in other), encoding="utf-8")
    first, second = (
        np.concatenate(choice_log_probs(model, tokenizer, load_questions("piqa", folder)))
        for folder in (tmp_path, tmp_path / "other")
    )
    assert np.abs(first - second).min() > 1e-2
