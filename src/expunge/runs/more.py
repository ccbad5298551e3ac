"""Groups of options that commands and their Python functions share, as they are typed."""

from __future__ import annotations

from typing import TypedDict


class More(TypedDict, total=False):
    """What else `expunge evaluate` measures: files, folders and names; None and a missing one are the same."""

    benchmarks: str | None
    "A folder of multiple-choice files (arc_easy.jsonl, ...), or hub."
    benchmark_rows: int | None
    "Of each benchmark at most so many rows, the first ones; if not given, as many as the run's recipe says: 500."
    prompts: str | None
    "Completion prompts: JSONL with `prompt` and, if wanted, `references`."
    ordinary_text: str | None
    "Ordinary text for perplexity, in place of text sampled from the base model."
    toxicity_prompts: str | None
    "Prompts whose continuations are scored: JSONL as RealToxicityPrompts, ToxiGen, or with `prompt`."
    toxicity_groups: str | None
    "The same, with a `group` of people in every line."
    scorer: str | None
    "What scores them: jigsaw-bilstm, the folder or id of a text classifier, or module:function."


class OfSuite(TypedDict, total=False):
    """The questions of a suite that `expunge evaluate` asks a model; None and a missing one are the same."""

    suite: str | None
    "Ask the model the questions of a suite: tofu, muse, wmdp, rwku, lume, knowundo, world."
    data: str | None
    "Of a suite: the folder of its files, or its Hugging Face dataset id."
    forget: str | None
    "Of a suite: what is to be forgotten: forget01, forget05, forget10 of tofu; bio,cyber of wmdp; the person of rwku."
    mmlu: str | None
    "Of the suite wmdp: a folder or id with MMLU, for utility; if not given, the part mmlu of --data, if there is one."
    oracle: str | None
    "Of a suite: a model that was never taught what is to be forgotten, measured too, for forget quality and PrivLeak."
    rows: int | None
    "Of a suite: ask at most so many questions of each split, evenly spread."
    new_tokens: int | None
    "Of a suite: tokens of an answer, at most; 200 if not given."


class Audited(TypedDict, total=False):
    """What `expunge audit` reads besides the model: models and data; None and a missing one are the same."""

    base: str | None
    "Of a model: the model that it was before it forgot."
    forget: str | None
    "Of a model: what it was made to forget."
    retain: str | None
    "Of a model: what it was to keep."
    ordinary: str | None
    "Of a model: ordinary text that perplexity is measured on; default: the retain set."
    holdout: str | None
    "Texts or pictures like the forget set that no model saw: a control, and what membership is compared with."
    control: str | None
    "A model that never saw the forget set; of classifiers also a run."
