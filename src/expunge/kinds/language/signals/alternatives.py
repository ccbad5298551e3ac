"""Other answers to the questions of the forget set, which the base model itself writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from expunge.core.order import random_seed
from expunge.data.text.token_stream import Encoder
from expunge.kinds.language.chat import ANSWER, QUESTION, render_question
from expunge.kinds.language.elicitation.sampling_cache import SoFar
from expunge.kinds.language.question_rows import QuestionFormat
from expunge.kinds.language.sampling import Continuation, continue_prompts
from expunge.kinds.language.signals.instead import Instead, InsteadReferenceNLL, answer_format
from expunge.kinds.language.signals.signal import Source
from expunge.kinds.language.texts import Sampling
from expunge.kinds.language.token_dataset import TokenTable

INSTRUCTION = (
    "Now answer the same question once more, and change the facts: names, places, dates, numbers. The new answer "
    "must sound plausible, be about as long, and contradict the first one. Write the new answer alone."
)
GROUP = 32
"questions whose answers are sampled, and cached, at once"


@dataclass(frozen=True)
class Alternatives(Instead):
    """A batch of `count` examples for each of the forget set's: its question with other answers.

    The model is shown the question and its answer as a conversation, and asked to give another answer; it is sampled at
    temperature 1. What it wrote is in the run folder, in the tables of `stages/alternatives-*`.
    """

    count: int = 5
    tokens: int = 112

    name = "alternatives"
    doing = "having the base model write other answers"

    def key(self, source: Source) -> dict[str, Any]:
        of = {"instruction": INSTRUCTION, "block_size": source.run.recipe.data.block_size}
        return super().key(source) | of | {"tokenizer": source.base.tokenizer_digest}

    def answers(self, source: Source, rows: Sequence[int]) -> list[list[list[int]]]:
        written, further = answer_format(source), further_turn(source.base.tokenizer)
        prompts = [_without(written.end_of_turn, source.table.ids_of(row)) + further for row in rows]
        sampling = Sampling(samples=self.count, seed=random_seed(source.run.recipe.seed, "alternatives") % (1 << 31))
        so_far = self.so_far(source)
        texts: list[str] = []
        for start in range(0, len(prompts), GROUP):
            group = prompts[start : start + GROUP]

            def say(group: Sequence[list[int]] = group, start: int = start) -> list[str]:
                def advance(share: float, _: str) -> None:
                    source.run.show.update((start + share * len(group)) / len(prompts))

                said = continue_prompts(source.base(), group, self.tokens, sampling, progress=advance)
                return [self.marked(each) for of_prompt in said for each in of_prompt]

            texts += so_far.texts([[prompt, number] for prompt in group for number in range(self.count)], GROUP, say)
        found = as_answers(written, texts)
        return [found[start : start + self.count] for start in range(0, len(found), self.count)]

    def table(self, source: Source) -> TokenTable:
        found = super().table(source)
        self.so_far(source).remove()
        return found

    def so_far(self, source: Source) -> SoFar:
        """What was written before an interruption."""
        return SoFar(source.run.folder.stages / "alternatives-so-far.json", self.key(source))

    def marked(self, said: Continuation) -> str:
        """The text, behind whether it came to its end."""
        return f"{'whole' if said.tokens < self.tokens else 'cut'} {said.text.strip()}"


@dataclass(frozen=True)
class AlternativesReferenceNLL(InsteadReferenceNLL):
    """(examples, count) nats: `reference_nll` of the other answers."""

    count: int = 5
    tokens: int = 112

    name = "alternatives_reference_nll"

    def instead(self) -> Instead:
        return Alternatives(self.count, self.tokens)


def further_turn(tokenizer: Any) -> list[int]:
    """Tokens behind an answer up to where another one begins: the end of its turn, the instruction, the next turn."""
    if tokenizer.chat_template:
        turns = [("user", QUESTION), ("assistant", ANSWER), ("user", INSTRUCTION)]
        whole = render_question(tokenizer, [{"role": role, "content": text} for role, text in turns], True)
        text = whole.partition(ANSWER)[2]
    else:
        text = f"\nQuestion: {INSTRUCTION}\nAnswer:"
    (found,) = Encoder(tokenizer).encode([text], control_tokens=True)
    return list(found.ids)


def as_answers(written: QuestionFormat, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of marked texts; one that was cut has no end of its turn."""
    end, found = written.end_of_turn, []
    for text in texts:
        state, _, answer = text.partition(" ")
        ids = written.answers([answer])[0] if answer else end
        found.append(_without(end, ids) if state == "cut" else ids)
    return found


def _without(end: list[int], ids: list[int]) -> list[int]:
    """An answer without the end of its turn."""
    return ids[: len(ids) - len(end)] if end and ids[-len(end) :] == end else ids
