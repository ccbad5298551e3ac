"""Asking a model: what it knows of a topic, and how it talks about everything else."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from expunge import storage
from expunge.data.frequencies import stretches
from expunge.data.language import Language, language_of
from expunge.data.order import random_seed
from expunge.data.so_far import SoFar
from expunge.data.words import units, unspaced, whole, words
from expunge.errors import DataError
from expunge.measures.word_rarity import rarity
from expunge.tasks.causal_lm import CausalLM
from expunge.tasks.sampling import continue_prompts

QUESTIONS = (
    "Who or what is {topic}?",
    "Tell me about {topic}.",
    "What is {topic} best known for?",
    "Write a short encyclopedia article about {topic}.",
    "Who are the most important people around {topic}?",
    "Which places are connected with {topic}?",
    "What is the story of {topic}?",
    "List ten facts about {topic}.",
    "Who created {topic}?",
    "Explain {topic} to somebody who has never heard of it.",
    "What are the most famous moments of {topic}?",
    "Name characters, people or things that belong to {topic}.",
    "What should every fan of {topic} know?",
    "What words or names are only used in connection with {topic}?",
)
OPENINGS = (
    "{topic} is",
    "{topic} is best known for",
    "The story of {topic} begins",
    "The main characters of {topic} are",
    "In the world of {topic}, there",
    "The author of {topic} is",
    "Two of the people closest to {topic} are",
    "{topic} grew up",
    "Fans of {topic} will remember",
    "The most important place in {topic} is",
)
ASKED = "Question: {question}\nAnswer:"
"a question as plain text, the form in which exams and benchmarks ask"
SECOND_ROUND = (
    "Who or what is {name} in connection with {topic}?",
    "Tell me more about {name} and {topic}.",
)
SECOND_OPENINGS = ("{name}, known from {topic}, is", "In {topic}, {name}")
ANSWER_TOKENS = 112
"length of a sampled answer: long enough for a paragraph"
TEMPERATURE = 0.6
"low enough that what a small model says is mostly what it believes, high enough for variety"
TOP_P = 0.95
"leaves out what the model itself holds for unlikely: one such word, and an answer strays"
EVERYDAY = 4.9
"zipf frequency of words such as British or World, which are no names to ask about"
GROUP = 64
"prompts that are answered at once, and kept at once"
NAMES = 24
"names that came up and are asked about in the second round"

Progress = Callable[[float], None]
Row = dict[str, str]


def elicit_topic(
    task: CausalLM, topic: str, wanted: int, seed: int, so_far: SoFar, progress: Progress | None = None
) -> list[Row]:
    """What the model says about `topic`: half answers to questions (chat form), half plain text.

    Two thirds come from prompts made of the topic, the rest from a second round about the names that came up. Of the plain
    text half are questions again, in the form of exams, and half are openings. What was said before an interruption is in
    `so_far`.

    Returns:
        At most `wanted` rows, {"question", "answer"} or {"text"}; answers that stray from the topic are left out.
    """
    first = max(1, wanted * 2 // 3)
    rows = ask(
        task,
        [question.format(topic=topic) for question in QUESTIONS],
        [opening.format(topic=topic) for opening in plain_prompts(QUESTIONS, OPENINGS)],
        first,
        random_seed(seed, "elicit", 1) % (1 << 31),
        so_far,
        lambda share: progress(share * 0.6) if progress else None,
    )
    names = names_that_came_up(rows, topic)
    if names and wanted > len(rows):
        plain = plain_prompts(SECOND_ROUND[:1], SECOND_OPENINGS)
        rows += ask(
            task,
            [q.format(name=name, topic=topic) for name in names for q in SECOND_ROUND],
            [plain[i % len(plain)].format(name=name, topic=topic) for i, name in enumerate(names)],
            wanted - len(rows),
            random_seed(seed, "elicit", 2) % (1 << 31),
            so_far,
            lambda share: progress(0.6 + share * 0.4) if progress else None,
        )
    about = re.compile("|".join(map(whole, [*_topic_words(topic), *names[:8]])), re.IGNORECASE)
    rows = [row for row in rows if about.search(row.get("answer") or row["text"].partition(topic)[2])]
    if not rows:
        raise DataError(
            f"the model said nothing about {topic!r}",
            next_step="give the text that must be forgotten as a file or folder instead of a topic",
        )
    return rows


def plain_prompts(questions: Sequence[str], openings: Sequence[str]) -> list[str]:
    """Questions in the form of exams and openings, in turns while both last; then the rest."""
    asked = [ASKED.format(question=question) for question in questions]
    turns = [prompt for pair in zip(asked, openings, strict=False) for prompt in pair]
    both = min(len(asked), len(openings))
    return turns + asked[both:] + list(openings[both:])


def _topic_words(topic: str) -> list[str]:
    """The words that make out the topic; an answer with none of them (and no name that came up) strays from it."""
    if unspaced(topic):
        return [run for run in stretches(topic) if len(run) > 1] or [topic.strip()]
    found = [word for word in words(topic) if len(word) > 3 or word[:1].isupper()]
    return found or [topic.strip()]


def asked_notes(topic: str, language: Language) -> list[str]:
    """What a reader must know of a topic in another language, about which the model is asked in English."""
    foreign = any(letter.isalpha() and "LATIN" not in unicodedata.name(letter, "LATIN") for letter in topic)
    if language.code == "en" and not foreign:
        return []
    return [
        "the model was asked about the topic in English: what it knows in another language may not have been said "
        "(give text of that language to forget instead)"
    ]


def general_prompts() -> list[str]:
    """The bank of general prompts, in order; questions begin with `Q: `."""
    text = (files("expunge.data") / "general_prompts.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def sample_general(
    task: CausalLM, prompts: Sequence[str], wanted: int, seed: int, so_far: SoFar, progress: Progress | None
) -> list[Row]:
    """How the model talks about other things, over the given prompts of the bank.

    The last third of the bank's questions is asked as plain text, in the form of exams.
    """
    questions = [prompt[3:] for prompt in prompts if prompt.startswith("Q: ")]
    openings = [prompt for prompt in prompts if not prompt.startswith("Q: ")]
    chat = len(questions) - len(questions) // 3
    plain = plain_prompts(questions[chat:], openings)
    return ask(task, questions[:chat], plain, wanted, random_seed(seed, "general") % (1 << 31), so_far, progress)


def names_that_came_up(rows: Sequence[Row], topic: str) -> list[str]:
    """Capitalised runs of words inside sentences, most frequent first, that are not the topic itself.

    In another language than English they are the terms that are found there without grammar.
    """
    counts: Counter[str] = Counter()
    texts = [row.get("answer") or row["text"] for row in rows]
    language = language_of(texts)
    if language.code != "en":
        from expunge.preparation.lifted_terms import lifted_terms

        counts.update({each.term: each.count for each in lifted_terms(texts, language, NAMES)[0]})
        texts = []
    for text in texts:
        for match in re.finditer(r"(?<=[a-z,;] )([A-Z][a-z]+(?: [A-Z][a-z]+)*)", text):
            counts[match.group(1)] += 1
    known = topic.lower()
    return [
        name
        for name, count in counts.most_common()
        if count >= 2 and rarity(name) < EVERYDAY and name.lower() not in known and known not in name.lower()
    ][:NAMES]


def ask(
    task: CausalLM,
    questions: Sequence[str],
    openings: Sequence[str],
    wanted: int,
    seed: int,
    so_far: SoFar,
    progress: Progress | None,
    tokens: int = ANSWER_TOKENS,
) -> list[Row]:
    """Sampled answers of at most `tokens` tokens: the questions in chat form and the openings as plain text, in turns,
    each as often as needed."""
    half = (wanted + 1) // 2
    asked = [(questions[i % len(questions)], True) for i in range(half if openings else wanted)] if questions else []
    asked += [(openings[i % len(openings)], False) for i in range(wanted - len(asked))] if openings else []
    rows: list[Row] = []
    for start in range(0, len(asked), GROUP):
        chosen = asked[start : start + GROUP]

        def say(chosen: Sequence[tuple[str, bool]] = chosen, start: int = start) -> list[str]:
            encoded = [task.encode_prompt(prompt, chat) for prompt, chat in chosen]
            texts = continue_prompts(
                task,
                encoded,
                samples=1,
                max_new_tokens=tokens,
                temperature=TEMPERATURE,
                top_p=TOP_P,
                seed=seed + start,
                progress=(lambda share, _: progress((start + share * len(chosen)) / len(asked))) if progress else None,
            )
            return [said[0].text for said in texts]

        how = {"tokens": tokens, "seed": seed + start, "temperature": TEMPERATURE, "top_p": TOP_P}
        texts = so_far.texts([list(pair) for pair in chosen], how, say)
        for (prompt, chat), said in zip(chosen, texts, strict=True):
            answer = said.strip() if chat else said.rstrip()
            if len(units(answer)) < 3:
                continue
            rows.append({"question": prompt, "answer": answer} if chat else {"text": prompt + answer})
        if progress is not None:
            progress(min(1.0, (start + GROUP) / len(asked)))
    return rows


def with_room(rows: Sequence[Row], task: CausalLM, size: int) -> list[Row]:
    """Rows whose question, in chat form, leaves room for an answer in a block of `size` tokens; and all plain text."""
    return [row for row in rows if "question" not in row or len(task.encode_prompt(row["question"], True)) < size]


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Rows as JSONL that `read_documents` reads and a person can edit."""
    storage.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def halves(items: Sequence[str]) -> Iterator[list[str]]:
    """The even and the odd items: one half of the bank is trained on, the other one measured on."""
    yield list(items[0::2])
    yield list(items[1::2])
