"""What else `expunge evaluate` measures: its options, and the keywords of `expunge.evaluate`."""

from __future__ import annotations

from typing import TypedDict


class More(TypedDict, total=False):
    """Files, folders and names, as they are typed; None and a missing one are the same."""

    benchmarks: str | None
    "A folder of multiple-choice files (arc_easy.jsonl, ...), or hub."
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
