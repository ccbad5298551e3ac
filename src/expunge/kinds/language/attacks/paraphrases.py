"""Questions in other words: the model before it forgot rewrites them, one and the same text for both sides."""

from __future__ import annotations

from expunge.kinds.language.attacks.answer_words import new_part, words
from expunge.kinds.language.attacks.facts import Facts
from expunge.kinds.language.task import CausalLM

REQUEST = "Rewrite this question in other words. Write the new question alone.\n\n"
LONGEST = 48
"tokens of a paraphrase, at most"
SHORT = 3
"letters of a word, at most, that may occur in any question"


def paraphrases(task: CausalLM, facts: Facts) -> list[str | None]:
    """(facts,) each question in other words, greedily; None for a passage, and if there is no paraphrase."""
    numbers = [i for i, fact in enumerate(facts.every) if fact.question is not None]
    prompts = [task.encode_prompt(f"{REQUEST}{facts.every[i].question}", chat=True) for i in numbers]
    found: list[str | None] = [None] * len(facts.every)
    for number, texts in zip(numbers, task.generate(prompts, LONGEST), strict=True):
        fact = facts.every[number]
        found[number] = usable(texts[0], fact.question or "", fact.answer)
    return found


def usable(written: str, question: str, answer: str) -> str | None:
    """The first line of the output, if it is another question and reveals nothing of the answer."""
    line = next((line.strip().strip('"*') for line in written.splitlines() if line.strip()), "")
    begin, end = new_part(answer, question)
    reveals = _revealing(answer[begin:end]) & words(line)
    if not words(line) or words(line) == words(question) or reveals or not words(line) & words(question):
        return None
    return line


def _revealing(part: str) -> set[str]:
    """The revealing words of a part of an answer: long ones, names and numbers; all, if there is none of these."""
    long = " ".join(word for word in part.split() if len(word) > SHORT or not word.islower())
    return words(long) or words(part)
