"""Sample a model's answers: about a topic, and on general prompts."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from expunge.core import storage
from expunge.core.order import random_seed
from expunge.data.text.language import Language
from expunge.data.text.words import units
from expunge.errors import DataError
from expunge.kinds.language.elicitation.sampling_cache import SoFar
from expunge.kinds.language.elicitation.topic_names import Row, TopicNames, is_on_topic, names_that_came_up
from expunge.kinds.language.sampling import continue_prompts
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.texts import Sampling

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
NAME_AND_TOPIC_QUESTIONS = (
    "Who or what is {name} in connection with {topic}?",
    "Tell me more about {name} and {topic}.",
)
NAME_AND_TOPIC_OPENINGS = ("{name}, known from {topic}, is", "In {topic}, {name}")
NAME_QUESTIONS = (
    "Who or what is {name}?",
    "Tell me about {name}.",
    "What is {name} known for?",
    "Why is {name} remembered?",
)
"templates for the topic's own names, without the topic, so that forgetting does not depend on its name"
NAME_OPENINGS = ("{name} was", "{name} is known for")
ANSWER_TOKENS = 112
"length of a sampled answer: long enough for a paragraph"
TEMPERATURE = 0.6
"low enough that a small model mostly says what it knows, high enough for variety"
TOP_P = 0.95
"leaves out tokens that the model finds unlikely: one such word, and an answer strays"
NAME_TOKENS = 64
"length of an answer about a name: a sentence or two"
GROUP = 64
"prompts answered and cached together"

Progress = Callable[[float], None]


def elicit_topic(
    task: CausalLM, topic: str, wanted: int, seed: int, so_far: SoFar, progress: Progress | None = None
) -> list[Row]:
    """Sample the model's answers about `topic`: half answers to questions, half plain text.

    A third come from prompts with the topic, the rest from a second round about the names that came up: the topic's own
    by themselves, the others in connection with the topic. Answers from before an interruption are in `so_far`.

    Returns:
        At most `wanted` rows, as `ask` makes them; answers that stray from the topic are left out.
    """
    about = ([text.format(topic=topic) for text in QUESTIONS], [text.format(topic=topic) for text in OPENINGS])
    first = max(1, wanted // 3)
    answers = ask(
        task,
        *about,
        first,
        random_seed(seed, "elicit", 1) % (1 << 31),
        so_far,
        lambda share: progress(share * 0.4) if progress else None,
    )
    names = names_that_came_up([answer.row for answer in answers], topic)
    if wanted > first:
        questions, openings = about_names(names, topic)
        half = (wanted - first + 1) // 2
        answers += ask(
            task,
            # few names are asked about once with each template; the rest is asked about the topic again
            questions[:half] + about[0] * (len(questions) < half),
            openings[:half] + about[1] * (len(openings) < half),
            wanted - first,
            random_seed(seed, "elicit", 2) % (1 << 31),
            so_far,
            lambda share: progress(0.4 + share * 0.6) if progress else None,
            tokens=NAME_TOKENS if names else None,
        )
    rows = [answer.row for answer in answers if is_on_topic(answer.prompt, answer.text, topic, names)]
    if not rows:
        raise DataError(
            f"the model said nothing about {topic!r}",
            next_step="give the text that must be forgotten as a file or folder instead of a topic",
        )
    return rows


def elicit_topics(
    task: CausalLM, topics: Sequence[str], wanted: int, seed: int, so_far: SoFar, progress: Progress | None = None
) -> dict[str, list[Row]]:
    """Sample the model's answers about each of several topics, `wanted` rows of each; none if it says nothing about
    one.

    Raises:
        DataError: it says nothing about any of them.
    """
    found: dict[str, list[Row]] = {}
    for number, topic in enumerate(topics):

        def advance(share: float, number: int = number) -> None:
            if progress is not None:
                progress((number + share) / len(topics))

        draw = seed if number == 0 else random_seed(seed, "topic", topic) % (1 << 31)
        try:
            found[topic] = elicit_topic(task, topic, wanted, draw, so_far, advance)
        except DataError:
            if len(topics) == 1:
                raise
            found[topic] = []
    if not any(found.values()):
        raise DataError(
            f"the model said nothing about any of the {len(topics)} topics",
            next_step="give the text that must be forgotten as a file or folder instead of topics",
        )
    return found


def about_names(names: TopicNames, topic: str) -> tuple[list[str], list[str]]:
    """(questions, openings) about each name in turn, with another template in each round and for every second name."""

    def made(own: Sequence[str], others: Sequence[str]) -> list[str]:
        chosen = [own if name in names.own else others for name in names.all]
        return list(
            dict.fromkeys(
                templates[(i + place // 2) % len(templates)].format(name=name, topic=topic)
                for i in range(len(own))
                for place, (name, templates) in enumerate(zip(names.all, chosen, strict=True))
            )
        )

    return made(NAME_QUESTIONS, NAME_AND_TOPIC_QUESTIONS), made(NAME_OPENINGS, NAME_AND_TOPIC_OPENINGS)


def asked_notes(topics: Sequence[str], language: Language) -> list[str]:
    """Note on a topic in another language, about which the model is asked in English."""
    foreign = any(
        letter.isalpha() and "LATIN" not in unicodedata.name(letter, "LATIN") for topic in topics for letter in topic
    )
    if language.code == "en" and not foreign:
        return []
    return [
        "the model was asked about the topic in English: what it knows in another language may be missing "
        "(give text of that language to forget instead)"
    ]


def general_prompts() -> list[str]:
    """The bank of general prompts, in order; questions begin with `Q: `."""
    text = (files("expunge.kinds.language.elicitation") / "general_prompts.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def sample_general(
    task: CausalLM, prompts: Sequence[str], wanted: int, seed: int, so_far: SoFar, progress: Progress | None
) -> list[Row]:
    """Sample the model's text about other things, over the given prompts of the bank."""
    questions = [prompt[3:] for prompt in prompts if prompt.startswith("Q: ")]
    openings = [prompt for prompt in prompts if not prompt.startswith("Q: ")]
    answers = ask(task, questions, openings, wanted, random_seed(seed, "general") % (1 << 31), so_far, progress)
    return [answer.row for answer in answers]


@dataclass(frozen=True, slots=True)
class Answer:
    """The row made from an answer to a prompt."""

    prompt: str
    text: str
    row: Row


def ask(
    task: CausalLM,
    questions: Sequence[str],
    openings: Sequence[str],
    wanted: int,
    seed: int,
    so_far: SoFar,
    progress: Progress | None,
    tokens: int | None = None,
) -> list[Answer]:
    """Sampled answers of at most `tokens` (`ANSWER_TOKENS`) tokens: half to the questions, asked with the chat
    template, and half to the openings, as plain text; each is asked as often as needed.

    Returns:
        With rows {"question", "answer"} or {"text"}. Every second question and its answer is a text in exam form: a
        model is asked in both forms, and training in one form need not affect the other.
    """
    show = progress or (lambda share: None)
    tokens = tokens or ANSWER_TOKENS
    half = (wanted + 1) // 2
    # (prompt, whether in chat form, whether written as in exams); a question that is asked again changes its form
    asked = [
        (questions[i % len(questions)], True, (i + i // len(questions)) % 2 == 1)
        for i in range((half if openings else wanted) if questions else 0)
    ]
    asked += [(openings[i % len(openings)], False, False) for i in range(wanted - len(asked))] if openings else []
    answers: list[Answer] = []
    for start in range(0, len(asked), GROUP):
        chosen = asked[start : start + GROUP]

        def say(chosen: Sequence[tuple[str, bool, bool]] = chosen, start: int = start) -> list[str]:
            encoded = [task.encode_prompt(prompt, chat) for prompt, chat, _ in chosen]
            sampling = Sampling(samples=1, seed=seed + start, temperature=TEMPERATURE, top_p=TOP_P)

            def advance(share: float, _: str) -> None:
                show((start + share * len(chosen)) / len(asked))

            texts = continue_prompts(task, encoded, max_new_tokens=tokens, sampling=sampling, progress=advance)
            return [said[0].text for said in texts]

        how = {"tokens": tokens, "seed": seed + start, "temperature": TEMPERATURE, "top_p": TOP_P}
        texts = so_far.texts([[prompt, chat] for prompt, chat, _ in chosen], how, say)
        for (prompt, chat, exam), said in zip(chosen, texts, strict=True):
            text = said.strip() if chat else said.rstrip()
            if len(units(text)) < 3:
                continue
            row = {"question": prompt, "answer": text} if chat else {"text": prompt + text}
            answers.append(Answer(prompt, text, {"text": EXAM.format(question=prompt, answer=text)} if exam else row))
        show(min(1.0, (start + GROUP) / len(asked)))
    return answers


def with_room(rows: Sequence[Row], task: CausalLM, size: int) -> list[Row]:
    """Rows whose question, with the chat template, leaves room for an answer in a block of `size` tokens; and all plain
    text."""
    return [row for row in rows if "question" not in row or len(task.encode_prompt(row["question"], True)) < size]


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Rows as JSONL that `read_documents` reads and a person can edit."""
    storage.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
