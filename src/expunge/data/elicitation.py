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
EXAM = "Question: {question}\nAnswer: {answer}"
"a question and its answer as plain text, the form of exams and benchmarks"
WITH_TOPIC = (
    "Who or what is {name} in connection with {topic}?",
    "Tell me more about {name} and {topic}.",
)
OPENINGS_WITH_TOPIC = ("{name}, known from {topic}, is", "In {topic}, {name}")
OF_ITS_OWN = (
    "Who or what is {name}?",
    "Tell me about {name}.",
    "What is {name} known for?",
    "Why is {name} remembered?",
)
"of names that belong to the topic alone: it is left out, so that what is forgotten does not hang on the topic's name"
OPENINGS_OF_ITS_OWN = ("{name} was", "{name} is known for")
ANSWER_TOKENS = 112
"length of a sampled answer: long enough for a paragraph"
TEMPERATURE = 0.6
"low enough that what a small model says is mostly what it believes, high enough for variety"
TOP_P = 0.95
"leaves out what the model itself holds for unlikely: one such word, and an answer strays"
EVERYDAY = 4.9
"zipf frequency of words such as British or World, which are no names to ask about"
OWN = 4.3
"zipf frequency below which a name is taken for the topic's own: Holocaust, Hiroshima, but not Japan"
NAME_TOKENS = 64
"length of an answer about a name: a sentence or two"
GROUP = 64
"prompts that are answered at once, and kept at once"
NAMES = 32
"names that came up and are asked about in the second round"

Progress = Callable[[float], None]
Row = dict[str, str]


def elicit_topic(
    task: CausalLM, topic: str, wanted: int, seed: int, so_far: SoFar, progress: Progress | None = None
) -> list[Row]:
    """What the model says about `topic`: half answers to questions, half plain text.

    A third come from prompts made of the topic, the rest from a second round about the names that came up: those that other
    text has, too, are asked about in connection with the topic, and the topic's own by themselves. What was said before an
    interruption is in `so_far`.

    Returns:
        At most `wanted` rows, as of `ask`; answers that stray from the topic are left out.
    """
    first = max(1, wanted // 3)
    rows = ask(
        task,
        [question.format(topic=topic) for question in QUESTIONS],
        [opening.format(topic=topic) for opening in OPENINGS],
        first,
        random_seed(seed, "elicit", 1) % (1 << 31),
        so_far,
        lambda share: progress(share * 0.6) if progress else None,
    )
    names = names_that_came_up(rows, topic)
    if names and wanted > first:
        questions, openings = about_names(names, topic)
        rows += ask(
            task,
            questions,
            openings,
            wanted - first,
            random_seed(seed, "elicit", 2) % (1 << 31),
            so_far,
            lambda share: progress(0.6 + share * 0.4) if progress else None,
            tokens=NAME_TOKENS,
        )
    rows = [row for row in rows if stays_with(row, topic, names)]
    if not rows:
        raise DataError(
            f"the model said nothing about {topic!r}",
            next_step="give the text that must be forgotten as a file or folder instead of a topic",
        )
    return rows


def about_names(names: Sequence[str], topic: str) -> tuple[list[str], list[str]]:
    """(questions, openings) about each name in turn, another template in each round and for each neighbour."""

    def made(own: Sequence[str], others: Sequence[str]) -> list[str]:
        chosen = [own if rarity(name) < OWN else others for name in names]
        return [
            templates[(i + place) % len(templates)].format(name=name, topic=topic)
            for i in range(len(own))
            for place, (name, templates) in enumerate(zip(names, chosen, strict=True))
        ]

    return made(OF_ITS_OWN, WITH_TOPIC), made(OPENINGS_OF_ITS_OWN, OPENINGS_WITH_TOPIC)


def stays_with(row: Row, topic: str, names: Sequence[str]) -> bool:
    """Whether a row speaks of the topic: beside its name another word of it or a name that came up, or two such names."""
    text = " ".join(row.values())
    if topic not in text:
        found = re.findall("|".join(map(whole, names)), text, re.IGNORECASE)
        return len({name.casefold() for name in found}) > 1
    said = row.get("answer") or text.replace(topic, "", 1)
    return re.search("|".join(map(whole, [*_topic_words(topic), *names])), said, re.IGNORECASE) is not None


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
    """How the model talks about other things, over the given prompts of the bank."""
    questions = [prompt[3:] for prompt in prompts if prompt.startswith("Q: ")]
    openings = [prompt for prompt in prompts if not prompt.startswith("Q: ")]
    return ask(task, questions, openings, wanted, random_seed(seed, "general") % (1 << 31), so_far, progress)


def names_that_came_up(rows: Sequence[Row], topic: str) -> list[str]:
    """Capitalised runs of words inside sentences, most frequent first, that are not the topic itself.

    A name that was said once counts where it is rare, and its words are known. In another language than English they
    are the terms that are found there without grammar.
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
        if (count > 1 or 0 < rarity(name) < OWN)
        and rarity(name) < EVERYDAY
        and name.lower() not in known
        and known not in name.lower()
    ][:NAMES]


def ask(
    task: CausalLM,
    questions: Sequence[str],
    openings: Sequence[str],
    wanted: int,
    seed: int,
    so_far: SoFar,
    progress: Progress | None,
    tokens: int | None = None,
) -> list[Row]:
    """Sampled answers of at most `tokens` (`ANSWER_TOKENS`) tokens: half to the questions, asked in chat form, and half to
    the openings, as plain text; each is asked as often as needed.

    Returns:
        Rows {"question", "answer"} or {"text"}. Every other question and its answer is a text in the form of exams: a
        model is asked in both forms, and what is trained in one of them need not reach the other.
    """
    tokens = tokens or ANSWER_TOKENS
    half = (wanted + 1) // 2
    asked = [(questions[i % len(questions)], True) for i in range(half if openings else wanted)] if questions else []
    asked += [(openings[i % len(openings)], False) for i in range(wanted - len(asked))] if openings else []
    rows: list[Row] = []
    exam = False
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
            if chat and exam:
                rows.append({"text": EXAM.format(question=prompt, answer=answer)})
            else:
                rows.append({"question": prompt, "answer": answer} if chat else {"text": prompt + answer})
            exam = chat and not exam
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
