"""Groups of options that commands and their Python functions share, as they are typed."""

from __future__ import annotations

from typing import TypedDict


class More(TypedDict, total=False):
    """Further measures of `expunge evaluate`: files, folders and names; None and a missing one are the same."""

    benchmarks: str | None
    "A folder of multiple-choice files (arc_easy.jsonl, ...), or hub."
    benchmark_rows: int | None
    "At most this many rows of each benchmark, from the start; default: the run's recipe's, 500."
    prompts: str | None
    "Completion prompts: JSONL with `prompt` and, if wanted, `references`."
    ordinary_text: str | None
    "Ordinary text for perplexity, instead of text sampled from the base model."
    toxicity_prompts: str | None
    "Prompts whose continuations are scored: JSONL like RealToxicityPrompts, ToxiGen, or with `prompt`."
    toxicity_groups: str | None
    "The same, with a `group` of people in every line."
    scorer: str | None
    "The scorer: jigsaw-bilstm, the folder or id of a text classifier, or module:function."


class OfSuite(TypedDict, total=False):
    """The questions of a suite that `expunge evaluate` asks a model; None and a missing one are the same."""

    suite: str | None
    "Ask the model the questions of a suite: tofu, muse, wmdp, rwku, lume, knowundo, world."
    data: str | None
    "For a suite: the folder of its files, or its Hugging Face dataset id."
    forget: str | None
    "For a suite: what to forget: forget01, forget05, forget10 of tofu; bio,cyber of wmdp; the person of rwku."
    mmlu: str | None
    "For the suite wmdp: a folder or id with MMLU, for utility; default: the part mmlu of --data, if there is one."
    oracle: str | None
    "For a suite: a model that never saw the forget set, also measured, for forget quality and PrivLeak."
    rows: int | None
    "For a suite: ask at most this many questions of each split, evenly spread."
    new_tokens: int | None
    "For a suite: tokens of an answer, at most; default: 200."


class Audited(TypedDict, total=False):
    """Inputs of `expunge audit` in addition to the model: models and data; None and a missing one are the same."""

    base: str | None
    "For a model: its base model, before it forgot."
    forget: str | None
    "For a model: its forget set."
    retain: str | None
    "For a model: its retain set."
    ordinary: str | None
    "For a model: ordinary text to measure perplexity on; default: the retain set."
    holdout: str | None
    "Texts or pictures like the forget set that no model saw: a control, and what membership is compared with."
    control: str | None
    "A model that never saw the forget set; for classifiers also a run."
