"""Other questions about the same facts: a gap in the answer, the reverse question, a choice among several.

The questions do not ask for the whole answer, so values are on scales of their own: each is a separate attack, also run
on the base model. So a form that any model guesses well does not hide what another one brings back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch

from expunge.core.words import counted
from expunge.kinds.language.attacks.answer_words import BLANK, named, new_part, without, words
from expunge.kinds.language.attacks.attack import Attack, Side, tokens
from expunge.kinds.language.attacks.facts import Fact, Row, batch_of, in_batches, recall
from expunge.kinds.language.attacks.forms import Forms
from expunge.kinds.language.task import CausalLM
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

FEWEST = 4
"minimum number of facts with the form; else it is left out"
LETTERS = "ABCD"


class OtherQuestion(Attack):
    """Facts asked with another question, if they allow it."""

    own_scale = True
    needs_base = True
    setting: str

    @abstractmethod
    def row(self, fact: Fact, forms: Forms) -> Row | None:
        """The fact in this form; None if it has none."""

    def rows(self, side: Side) -> dict[int, Row]:
        """Number of a fact -> its row, for those that have the form."""
        forms = Forms(side.tokenizer)
        found = {number: self.row(fact, forms) for number, fact in enumerate(side.facts.every)}
        return {number: row for number, row in found.items() if row is not None}

    def missing(self, side: Side) -> str | None:
        number = len(self.rows(side))
        return None if number >= FEWEST else f"{counted(number, 'fact')} can be asked so, and it needs {FEWEST}"

    def pieces(self, side: Side) -> list[Piece]:
        return [Piece(words=self.setting, work=Work(read=tokens(self.rows(side).values()), loaded=1))]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        rows = self.rows(side)
        yield Trial(setting=self.setting, values=recall(side.look(), list(rows.values())), facts=list(rows))


class Cloze(OtherQuestion):
    """A gap to be filled (Petroni et al. 2019, arXiv:1909.01066)."""

    name = "cloze"
    title = "Cloze"
    sentence = (
        "What the question does not say is blanked in the answer, and asked for; of a passage the middle is, between "
        "the text before it and after it."
    )
    order = 31
    setting = "a gap to be filled"

    def row(self, fact: Fact, forms: Forms) -> Row | None:
        if fact.question is None:
            half = (len(fact.asked.ids) - fact.asked.first) // 2
            gap, after = fact.asked.ids[fact.asked.first :][:half], fact.asked.ids[fact.asked.first + half :]
            before = fact.asked.ids[len(forms.prefix) : fact.asked.first]
            prompt = [*forms.prefix, *forms.ids("Fill in the blank.\n\n"), *before, *forms.ids(f" {BLANK}"), *after]
            prompt += forms.ids("\n\nThe blank stands for:")
            return Row((*prompt, *gap), len(prompt))
        begin, end = new_part(fact.answer, fact.question)
        gap_text, rest = fact.answer[begin:end], fact.answer[:begin] + BLANK + fact.answer[end:]
        if not gap_text or not words(rest):
            return None
        prompt = forms.prompt(f"{fact.question}\nFill in the blank: {rest}")
        return Row((*prompt, *forms.said(gap_text)), len(prompt))


class Reversed(OtherQuestion):
    """The reverse question: a model that knows that A is B need not know that B is A (Berglund et al. 2023,
    arXiv:2309.12288)."""

    name = "reversed"
    title = "The other way round"
    sentence = (
        "The answer is given, and the name in its question is asked for; of a passage the second half is given, "
        "and the first is asked for."
    )
    order = 32
    setting = "from the answer to the question"

    def row(self, fact: Fact, forms: Forms) -> Row | None:
        first = fact.asked.first
        if fact.question is None:
            prompt = [*forms.prefix, *forms.ids("The second half of a passage:\n\n"), *fact.asked.ids[first:]]
            prompt += forms.ids("\n\nThe first half of the passage:\n\n")
            return Row((*prompt, *fact.asked.ids[len(forms.prefix) : first]), len(prompt))
        span = named(fact.question)
        if span is None:
            return None
        name = fact.question[span[0] : span[1]]
        answer = without(fact.answer, name)
        if not words(answer):
            return None
        asked = without(fact.question, name)
        prompt = forms.prompt(f"Whose name is missing?\nQuestion: {asked}\nAnswer: {answer}")
        return Row((*prompt, *forms.said(name)), len(prompt))


class Choice(Attack):
    """Multiple choice among the answers to the most similar questions, each once under every letter."""

    name = "choice"
    title = "Multiple choice"
    sentence = (
        "The answer is chosen among four: its own and those of three other facts, asked in the most similar words. "
        "Each is once under every letter. What counts is the probability of the true letter among the four, beyond "
        "chance: 0 is a quarter or less, 1 is certain."
    )
    order = 33
    own_scale = True
    needs_base = True

    def missing(self, side: Side) -> str | None:
        forms = Forms(side.tokenizer)
        if len(set(_letters(forms))) < len(LETTERS):
            return "the tokenizer has no separate tokens for the letters"
        number = len(options(side.facts.every))
        return None if number >= FEWEST else f"{counted(number, 'fact')} can be asked so, and it needs {FEWEST}"

    def pieces(self, side: Side) -> list[Piece]:
        read = sum(tokens(rows) for rows in _turned(side.facts.every, Forms(side.tokenizer)))
        return [Piece(words=f"one of {len(LETTERS)} answers", work=Work(read=read, loaded=1))]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        forms, facts = Forms(side.tokenizer), list(options(side.facts.every))
        task, total = side.look(), [0.0] * len(facts)
        for turn, rows in enumerate(_turned(side.facts.every, forms)):
            side.show(turn / len(LETTERS), "asking for a letter")
            chosen = letter_shares(task, rows, _letters(forms))
            total = [before + shares[turn] for before, shares in zip(total, chosen, strict=True)]
        chance = 1 / len(LETTERS)
        values = [max(0.0, (whole / len(LETTERS) - chance) / (1 - chance)) for whole in total]
        yield Trial(setting=f"one of {len(LETTERS)} answers", values=values, facts=facts)


def options(facts: Sequence[Fact]) -> dict[int, list[str]]:
    """Number of a fact -> its answer, then those of the most similar questions, all different. Each is the part that
    its own question does not contain: a name in the question must not give away which answer belongs to it."""
    short: dict[int, str] = {}
    for number, fact in enumerate(facts):
        if fact.question is not None:
            begin, end = new_part(fact.answer, fact.question)
            short[number] = fact.answer[begin:end]
    asked = {number: words(facts[number].question or "") for number in short}
    words_of = {number: words(text) for number, text in short.items()}
    found = {}
    for number, own in short.items():
        near = sorted(
            (other for other in short if other != number),
            key=lambda other: (-_likeness(asked[number], asked[other]), other),
        )
        others = list(dict.fromkeys(short[other] for other in near if words_of[other] - words_of[number]))
        if words_of[number] and len(others) >= len(LETTERS) - 1:
            found[number] = [own, *others[: len(LETTERS) - 1]]
    return found


def _likeness(one: set[str], other: set[str]) -> float:
    return len(one & other) / max(1, len(one | other))


def _letters(forms: Forms) -> list[int]:
    """The first token of each letter, as it follows a prompt."""
    return [next(token for token in forms.said(letter)) for letter in LETTERS]


def _turned(facts: Sequence[Fact], forms: Forms) -> Iterator[list[Row]]:
    """For each position of the true answer, the facts' rows; the label is its letter."""
    chosen = options(facts)
    for turn in range(len(LETTERS)):
        rows = []
        for number, texts in chosen.items():
            order = texts[-turn:] + texts[:-turn] if turn else texts
            listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, order, strict=True))
            prompt = forms.prompt(f"{facts[number].question}\n{listed}\nAnswer with the letter alone.")
            rows.append(Row((*prompt, _letters(forms)[turn]), len(prompt)))
        yield rows


@torch.inference_mode()
def letter_shares(task: CausalLM, rows: Sequence[Row], letters: Sequence[int]) -> list[list[float]]:
    """(rows, letters) the probability of each letter among them, at the last token of a row."""
    found: list[list[float]] = [[]] * len(rows)
    for chosen in in_batches(rows):
        logits = task.row_logits(batch_of([rows[i] for i in chosen]))[:, list(letters)]
        for i, shares in zip(chosen, logits.double().softmax(-1).tolist(), strict=True):
            found[i] = shares
    return found
