"""General knowledge: does the model still know that the capital of France is Paris?"""

from __future__ import annotations

from importlib.resources import files

from expunge.core.score import Score, Which
from expunge.kinds.language.measures.declared import DECLARED
from expunge.kinds.language.task import CausalLM
from expunge.measures.statistics import share_interval

SHOWN = 6
"facts whose continuation is put into the report"


def facts() -> list[tuple[str, list[str]]]:
    """(prompt, [right answer, wrong ones]) of each fact."""
    text = (files("expunge.kinds.language.measures") / "general_knowledge.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    return [(row[0], row[1:]) for row in rows]


def general_knowledge(task: CausalLM, which: Which) -> tuple[Score, list[dict[str, str]]]:
    """Share of facts whose right answer is likelier than three wrong ones (mean log-probability a token, so that long
    answers are not punished); and what the model says to the first few. Choices are compared without autocast.
    """
    from expunge.kinds.language.measures.multiple_choice import Question, choice_log_probs

    chosen = facts()
    questions = [
        Question(contexts=(prompt,), continuations=tuple(f" {answer}" for answer in answers), answer=0)
        for prompt, answers in chosen
    ]
    values = []
    lengths = [
        [len(task.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]) for answer in answers]
        for _, answers in chosen
    ]
    for log_probs, tokens in zip(choice_log_probs(task.model, task.tokenizer, questions), lengths, strict=True):
        means = [log_prob / n for log_prob, n in zip(log_probs, tokens, strict=True)]
        values.append(float(means.index(max(means)) == 0))
    score = DECLARED["general_knowledge"].score("general", which, share_interval(values), values)
    prompts = [prompt for prompt, _ in chosen[:SHOWN]]
    said = [texts[0] for texts in task.generate([task.encode_prompt(prompt) for prompt in prompts], 16)]
    return score, [{"prompt": prompt, "said": text} for prompt, text in zip(prompts, said, strict=True)]
