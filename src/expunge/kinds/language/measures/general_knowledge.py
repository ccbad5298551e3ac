"""General knowledge: does the model still know that the capital of France is Paris?"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from expunge.core.score import Score, Which
from expunge.kinds.language.measures.benchmarks import Question
from expunge.kinds.language.measures.declared import DECLARED
from expunge.kinds.language.measures.multiple_choice import log_probs_a_token
from expunge.kinds.language.task import CausalLM
from expunge.measures.statistics import share_interval

SHOWN = 6
"facts whose continuation is in the report"


def facts() -> list[tuple[str, list[str]]]:
    """(prompt, [right answer, wrong ones]) of each fact."""
    text = (files("expunge.kinds.language.measures") / "general_knowledge.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    return [(row[0], row[1:]) for row in rows]


def general_knowledge(task: CausalLM, which: Which) -> tuple[Score, list[dict[str, Any]]]:
    """Share of facts whose right answer is likelier than three wrong ones, by mean log-probability a token; and the
    model's continuations of the first few. Choices are compared without autocast.
    """
    chosen = facts()
    questions = [Question((prompt,), tuple(f" {answer}" for answer in answers), 0) for prompt, answers in chosen]
    values = [float(means.index(max(means)) == 0) for means in log_probs_a_token(task, questions)]
    score = DECLARED["general_knowledge"].score("general", which, share_interval(values), values)
    prompts = [prompt for prompt, _ in chosen[:SHOWN]]
    said = [texts[0] for texts in task.generate([task.encode_prompt(prompt) for prompt in prompts], 16)]
    return score, [{"prompt": prompt, "said": text} for prompt, text in zip(prompts, said, strict=True)]
