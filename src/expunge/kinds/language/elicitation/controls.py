"""The model's answers about other topics of the same kind: the control of familiarity with a topic."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from itertools import zip_longest

from expunge.core.order import random_seed
from expunge.kinds.language.elicitation.asking import OPENINGS, QUESTIONS, Progress, Row, ask
from expunge.kinds.language.elicitation.sampling_cache import SoFar
from expunge.kinds.language.measures.benchmarks import Question
from expunge.kinds.language.measures.multiple_choice import choices_by
from expunge.kinds.language.task import CausalLM

CONTROL_TOKENS = 64
"length of a control answer: prompts are cut from it, and need a sentence or two"


def control_bank() -> dict[str, list[str]]:
    """Well-known topics, by kind."""
    text = (files("expunge.kinds.language.elicitation") / "control_topics.tsv").read_text(encoding="utf-8")
    return {kind: topics for kind, *topics in (line.split("\t") for line in text.splitlines() if line)}


def kind_of(task: CausalLM, topic: str) -> str:
    """The kind that the model assigns to a topic: the likeliest phrase after "<topic> is", per token,
    relative to its likelihood after "It is" (pointwise mutual information)."""
    kinds = list(control_bank())
    continuations = tuple(f" {kind}" for kind in kinds)
    about = [Question((f"{name} is",), continuations, 0) for name in (topic[:1].upper() + topic[1:], "It")]
    named, neutral = choices_by(task, about)
    gains = [(a - b) / task.tokens_in(text) for a, b, text in zip(named, neutral, continuations, strict=True)]
    return kinds[gains.index(max(gains))]


def control_topics(topic: str, kind: str) -> list[str]:
    """The bank's topics of a kind, and one of each other kind, without the topic itself or things named after it."""
    bank = control_bank()
    others = [topics[len(bank[kind]) % len(topics) - 1] for name, topics in bank.items() if name != kind]
    return [name for name in [*bank[kind], *others] if not _same(name, topic)]


def elicit_controls(
    task: CausalLM, topics: Sequence[str], wanted: int, seed: int, so_far: SoFar, progress: Progress | None = None
) -> list[Row]:
    """`wanted` answers over the topics in turn, asked for as a target's are, each with a template of its own."""
    questions = [_asked(QUESTIONS, topics, i) for i in range(wanted)]
    openings = [_asked(OPENINGS, topics, i + wanted) for i in range(wanted)]
    answers = ask(
        task, questions, openings, wanted, random_seed(seed, "control") % (1 << 31), so_far, progress, CONTROL_TOKENS
    )
    return [answer.row for answer in answers]


def names_topic(text: str, topic: str) -> bool:
    """Whether a text names the topic."""
    return re.search(rf"(?<!\w){re.escape(_bare(topic))}(?!\w)", text.casefold()) is not None


def names_any(text: str, topics: Sequence[str]) -> bool:
    """Whether a text names one of several topics."""
    return any(names_topic(text, topic) for topic in topics)


def controls_of_several(topics: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The bank's topics for several topics of these kinds, those of each in turn; none that is one of the topics."""
    listed = [control_topics(topic, kind) for topic, kind in zip(topics, kinds, strict=True)]
    turns = [name for turn in zip_longest(*listed) for name in turn if name is not None]
    return [name for name in dict.fromkeys(turns) if not any(_same(name, topic) for topic in topics)]


def _asked(templates: Sequence[str], topics: Sequence[str], i: int) -> str:
    return templates[i % len(templates)].format(topic=topics[(i + i // len(topics)) % len(topics)])


def _bare(topic: str) -> str:
    return re.sub(r"^the ", "", topic.casefold().strip())


def _same(name: str, topic: str) -> bool:
    return names_topic(name, topic) or names_topic(topic, name)
